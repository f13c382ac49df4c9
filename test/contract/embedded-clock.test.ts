import assert from 'node:assert/strict'
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EmbeddedBackend } from '../../collector/src/store/embedded/backend'
import { EmbeddedFile } from '../../collector/src/store/embedded/file'
import { ROW_BYTES } from '../../collector/src/store/embedded/index/columns'
import { Pipeline } from '../../collector/src/store/pipeline/pipeline'
import { indexPolicy } from '../../collector/src/store/search/index-policy'
import { seeded } from '../helpers/seeded'
import { HostileClock, randomJump } from './hostile-clock'
import { messageOf, randomId, soon, span } from './store-contract'

const SEED = Number(process.env.MILO_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31))
const I64_MAX = 2n ** 63n - 1n
const HOUR_US = 3_600_000_000n
const DAY_US = 24n * HOUR_US

describe(`embedded store, with a hostile clock (MILO_TEST_SEED=${SEED})`, function () {
  this.timeout(120_000)
  let folder: string
  let path: string
  let copies = 0
  let clock: HostileClock
  let backend: EmbeddedBackend
  let file: EmbeddedFile
  let pipeline: Pipeline

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'milo-clock-'))
    path = join(folder, 'milo.db')
    clock = new HostileClock()
    await open()
  })
  afterEach(async () => {
    clock.restore()
    await close()
    rmSync(folder, { recursive: true })
  })

  async function open(): Promise<void> {
    file = new EmbeddedFile(path, () => {})
    const fail = (error: unknown) => assert.fail(error as Error)
    backend = new EmbeddedBackend(file, indexPolicy(), {
      retentionDays: 7,
      settleMs: 5,
      clock,
      activityDays: 400,
      analysisDays: 400,
      onActivityError: fail,
      onTendError: fail,
      onPutAside: fail,
    })
    pipeline = await Pipeline.open(backend, { maxBacklogSpans: 1e6, maxBacklogBytes: 1e9, onSettleError: fail })
  }

  async function close(): Promise<void> {
    await pipeline.close()
    await backend.close()
    file.close()
  }

  /** What the disk has at this moment is what the next process finds. */
  async function kill(): Promise<void> {
    const left = join(folder, `milo-${++copies}.db`)
    for (const end of ['', '-wal']) if (existsSync(path + end)) copyFileSync(path + end, left + end)
    await close()
    path = left
    await open()
  }

  async function append(): Promise<bigint> {
    const traceId = randomId()
    await pipeline.append([messageOf([span({ traceId }), span({ traceId, events: [] })])])
    return traceId
  }

  /** Merges, retires and removes, which otherwise a timer does. */
  async function tend(): Promise<void> {
    const { tending } = backend as unknown as { tending: Promise<void> | undefined }
    await tending
    await (backend as unknown as { tend(): Promise<void> }).tend()
  }

  const settled = () => soon(async () => assert.equal(pipeline.backlog().spans, 0))
  const has = async (traceId: bigint) => (await pipeline.readTraces([traceId], 1024 * 1024))[0]!.bytes.length > 0

  async function hasAll(traceIds: bigint[], what: string): Promise<void> {
    for (const [i, traceId] of traceIds.entries()) assert.ok(await has(traceId), `trace ${i} after ${what}`)
  }

  it('keeps what it has acknowledged for the retention, whatever the clock says, and then removes it', async () => {
    const random = seeded(SEED)
    const acknowledged: bigint[] = []
    const steps: string[] = []
    // Hours that have gone by stay below the retention.
    let hours = 0
    for (let i = 0; i < 150; i++) {
      const x = random()
      const step =
        x < 0.4
          ? 'append'
          : x < 0.6
            ? 'jump'
            : x < 0.7
              ? 'settle'
              : x < 0.78
                ? 'tend'
                : x < 0.86
                  ? 'stop'
                  : x < 0.94
                    ? 'kill'
                    : 'hour'
      steps.push(step)
      if (step === 'append') acknowledged.push(await append())
      else if (step === 'jump') clock.jump(randomJump(random))
      else if (step === 'settle') await settled()
      else if (step === 'tend') await tend()
      else if (step === 'kill') await kill()
      else if (step === 'stop') {
        await close()
        // A clock that is right again is believed after an hour: see Ages.
        await open()
      } else if (hours < 60) {
        hours++
        clock.isRight()
        clock.pass(HOUR_US / 2n)
        await tend()
      }
      if (i % 10 === 9) await hasAll(acknowledged, steps.slice(-10).join(', '))
    }
    await hasAll(acknowledged, 'everything')
    await settled()
    clock.pass(8n * DAY_US)
    await append()
    await settled()
    await tend()
    for (const traceId of acknowledged) assert.ok(!(await has(traceId)), 'removed after the retention')
  })

  it('removes what is too old after a clock that was once a year ahead', async () => {
    clock.jump(365n * DAY_US)
    const old = await append()
    await settled()
    await close()
    clock.isRight()
    await open()
    const young = await append()
    await settled()
    clock.pass(6n * DAY_US)
    const last = await append()
    await settled()
    await tend()
    await hasAll([old, young, last], 'six days')
    clock.pass(2n * DAY_US)
    await tend()
    assert.deepEqual(await Promise.all([old, young, last].map(has)), [false, false, true])
  })

  it('removes nothing when it is started with a clock a year ahead, nor when that is right again', async () => {
    const traceIds = [await append(), await append()]
    await settled()
    await close()
    clock.jump(365n * DAY_US)
    await open()
    traceIds.push(await append())
    await settled()
    await tend()
    clock.pass(HOUR_US / 2n)
    await tend()
    await hasAll(traceIds, 'half an hour a year ahead')
    clock.isRight()
    clock.pass(HOUR_US)
    await tend()
    await kill()
    await tend()
    await hasAll(traceIds, 'a clock that is right again')
  })

  it('keeps what comes after a clock that was ahead from the start, and for longer than an hour, for the retention', async () => {
    await close()
    clock.jump(365n * DAY_US)
    await open()
    const before = await append()
    clock.pass(2n * HOUR_US)
    await tend()
    clock.isRight()
    const after = await append()
    await settled()
    for (let day = 0; day < 6; day++) {
      await tend()
      await hasAll([before, after], `${day} days`)
      if (day === 3) await kill()
      clock.pass(DAY_US)
    }
    clock.pass(2n * DAY_US)
    await tend()
    assert.deepEqual([await has(before), await has(after)], [false, false])
  })

  it('counts the time for which it was stopped once it has run for an hour', async () => {
    const old = await append()
    await settled()
    await close()
    clock.pass(10n * DAY_US)
    await open()
    await tend()
    await hasAll([old], 'the start')
    clock.pass(HOUR_US)
    await tend()
    assert.equal(await has(old), false)
  })

  it('removes nothing early when the clock was decades behind at the first start, as of a machine without a battery', async () => {
    await close()
    rmSync(path)
    clock.jump(-20_000n * DAY_US)
    await open()
    // Of a file that was made then.
    file.sql.updateAges.run([clock.wallUs(), clock.wallUs()])
    await close()
    await open()
    const old = await append()
    await settled()
    // Set right while the process runs, a minute before it ends.
    clock.isRight()
    await tend()
    await kill()
    for (let hour = 0; hour < 3; hour++) {
      await tend()
      assert.ok(await has(old), `after ${hour} hours`)
      clock.pass(HOUR_US)
    }
    clock.pass(7n * DAY_US)
    await tend()
    assert.equal(await has(old), false)
  })

  it('counts stops again soon after a clock that was ahead is right', async () => {
    clock.jump(365n * DAY_US)
    const old = await append()
    await settled()
    await kill()
    clock.isRight()
    await kill()
    clock.pass(HOUR_US)
    await tend()
    clock.pass(HOUR_US)
    await tend()
    await close()
    clock.pass(10n * DAY_US)
    await open()
    await hasAll([old], 'a stop of ten days')
    clock.pass(HOUR_US)
    await tend()
    assert.equal(await has(old), false)
  })

  it('starts a span without times at the time of its receipt, also after the clock was a year ahead', async () => {
    clock.jump(365n * DAY_US)
    await append()
    await settled()
    clock.isRight()
    const atUs = clock.wallUs()
    await append()
    await settled()
    const [id] = file.sql.selectLastChunk.get([0n, I64_MAX]) as [bigint]
    const [data] = file.sql.selectChunk.get([id]) as [Buffer]
    assert.equal(data.readBigInt64BE(data.length - ROW_BYTES), atUs)
  })
})
