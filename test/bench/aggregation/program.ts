import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause, setImmediate } from 'node:timers/promises'
import type { ActivityQuery } from '../../../collector/src/store/activity/model'
import type { Delta, DeltaMinute } from '../../../collector/src/store/activity/rows'
import type { Entry } from '../../../collector/src/store/pipeline/entry'
import { bundledProgram } from '../../helpers/bundle'

/** `program.ts ROUNDS RECORDS`, with Node's --expose-gc. Standard output has the result as JSON. */

const parts: typeof import('./parts') = require(bundledProgram(join(__dirname, 'parts.ts'), 'aggregation'))
const { Counter, Weight, Meter, dice, normal, encodeRecord, operationKey, spanOf } = parts

const SEED = 11
const MINUTE_US = 60_000_000
const PORTIONS = [20_000, 500]
const FRAME = 100

async function main(): Promise<void> {
  const [rounds, records] = process.argv.slice(2).map(Number) as [number, number]
  const mixes = parts.MIXES.map(mix => {
    const { covered } = parts.coverage(mix, parts.TYPICAL, 4, 400, SEED)
    return { title: mix.title, covered }
  })
  const meter = []
  const bodies = bodiesOf(records)
  for (const portion of PORTIONS) meter.push(await countAll(bodies, portion, rounds))
  const result = {
    mixes,
    sketch: { error: sketchError() },
    counter: counterCosts(rounds),
    meter,
    operations: await manyOperations(),
    store: await stored(rounds),
  }
  process.stdout.write(`${JSON.stringify(result)}\n`)
}

const cpuUs = () => {
  const { user, system } = process.cpuUsage()
  return user + system
}

const median = (list: number[]) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]!

/** Runs something, and looks how long the event loop stands still meanwhile. @returns in ms */
async function pauseOf(work: () => Promise<void>): Promise<number> {
  let pause = 0
  let isOver = false
  const watch = (async () => {
    for (let last = performance.now(); !isOver; ) {
      await setImmediate()
      const now = performance.now()
      pause = Math.max(pause, now - last)
      last = now
    }
  })()
  await work()
  isOver = true
  await watch
  return pause
}

function sketchError(): number {
  const gauss = normal(dice(SEED))
  const counter = new Counter()
  const weight = new Weight().set(1)
  const durations = Float64Array.from({ length: 1e6 }, () => Math.round(20_000 * Math.exp(1.2 * gauss())))
  for (const [i, duration] of durations.entries()) counter.add(weight, i & 31, false, false, duration)
  durations.sort()
  let error = 0
  for (const q of [0.5, 0.9, 0.95, 0.99, 0.999]) {
    const exact = durations[Math.ceil(q * durations.length) - 1]!
    error = Math.max(error, Math.abs(parts.quantileOf(counter, q)!.value / exact - 1))
  }
  return error
}

function counterCosts(rounds: number) {
  const gauss = normal(dice(SEED))
  const durations = Float64Array.from({ length: 4096 }, () => 20_000 * Math.exp(1.2 * gauss()))
  const weights = [0.1, 0.01].map(p => new Weight().set(p))
  const adds = 2e6
  let ns = Number.POSITIVE_INFINITY
  for (let round = -1; round < rounds; round++) {
    const counter = new Counter()
    const from = cpuUs()
    for (let i = 0; i < adds; i++) counter.add(weights[i & 1]!, i & 31, i % 4 === 0, i % 50 === 0, durations[i & 4095]!)
    ns = Math.min(ns, ((cpuUs() - from) * 1000) / adds)
  }
  const bytes = new parts.Bytes()
  counterOf(1000, 1000, gauss).write(bytes)
  return { ns, bytes: bytes.taken().length }
}

/** A counter of calls of a Tuesday, one in four traces with an error. */
function counterOf(calls: number, startUs: number, gauss: () => number) {
  const counter = new Counter()
  const weight = new Weight().set(0.1)
  for (let i = 0; i < calls; i++) {
    const duration = Math.round(20_000 * Math.exp(0.8 * gauss()))
    const isError = i % 40 === 7
    counter.add(weight, (i * 7 + Math.floor(i / 32)) & 31, i % 4 === 0, isError, duration)
    counter.show(i, (startUs % 1e9) | 0, startUs + i, duration, isError)
  }
  return counter
}

function bodiesOf(records: number): Buffer[] {
  return Array.from({ length: records / FRAME }, (_, frame) =>
    Buffer.concat(Array.from({ length: FRAME }, (_, i) => encodeRecord(spanOf(frame, i)))),
  )
}

function entriesOf(bodies: Buffer[], receivedUs: bigint): Entry[] {
  return bodies.map((body, i) => ({ id: BigInt(i), receivedUs, body, start: 0, end: body.length, spans: FRAME }))
}

async function countAll(bodies: Buffer[], portion: number, rounds: number) {
  const nowUs = BigInt(Date.now()) * 1000n
  const records = bodies.length * FRAME
  const [us, learnUs]: number[][] = [[], []]
  const [countPauses, learnPauses]: number[][] = [[], []]
  let recent = 0
  let delta = 0
  for (let round = -1; round < rounds; round++) {
    const meter = new Meter({ retentionDays: 7 })
    recent = delta = 0
    let [all, learning] = [0, 0]
    for (let at = 0; at < bodies.length; at += portion / FRAME) {
      const entries = entriesOf(bodies.slice(at, at + portion / FRAME), nowUs)
      const from = cpuUs()
      const counted = await meter.count(entries, nowUs)
      const learnFrom = cpuUs()
      await meter.learn(counted.recent, nowUs)
      all += cpuUs() - from
      learning += cpuUs() - learnFrom
      recent += counted.recent.length
      delta += counted.delta.length
    }
    // Whoever looks at pauses takes time.
    let [countPause, learnPause] = [0, 0]
    const watched = new Meter({ retentionDays: 7 })
    for (let at = 0; at < bodies.length; at += portion / FRAME) {
      const entries = entriesOf(bodies.slice(at, at + portion / FRAME), nowUs)
      let recent!: Buffer
      const count = async () => void ({ recent } = await watched.count(entries, nowUs))
      countPause = Math.max(countPause, await pauseOf(count))
      learnPause = Math.max(learnPause, await pauseOf(() => watched.learn(recent, nowUs)))
    }
    if (round < 0) continue
    us!.push(all / records)
    learnUs!.push(learning / records)
    countPauses!.push(countPause)
    learnPauses!.push(learnPause)
  }
  return {
    portion,
    us: Math.min(...us!),
    learnUs: Math.min(...learnUs!),
    recent: recent / records,
    delta: delta / records,
    countPause: median(countPauses!),
    learnPause: median(learnPauses!),
  }
}

/** Settles names that come again and again. Once the room for waiting records is full, only what is known of the records may grow. */
async function manyOperations() {
  const [count, settlings, portion] = [10_000, 24, 20_000]
  const meter = new Meter({ retentionDays: 7 })
  const nowUs = BigInt(Date.now()) * 1000n
  const megabytes = async () => {
    // What buffers held is given back by another thread, some time after they are collected.
    for (let i = 0; i < 3; i++) {
      gc!()
      await pause(5)
    }
    const { heapUsed, external } = process.memoryUsage()
    return (heapUsed + external) / 1e6
  }
  const before = await megabytes()
  let early = 0
  for (let settling = 0; settling < settlings; settling++) {
    const bodies = Array.from({ length: portion / FRAME }, (_, frame) =>
      Buffer.concat(
        Array.from({ length: FRAME }, (_, i) => {
          const span = spanOf(settling * (portion / FRAME) + frame, i)
          return encodeRecord({
            ...span,
            name: `operation ${(frame * FRAME + i) % count}`,
            parentId: 0n,
            id: span.traceId,
          })
        }),
      ),
    )
    const { recent } = await meter.count(entriesOf(bodies, nowUs), nowUs)
    await meter.learn(recent, nowUs)
    if (settling === settlings / 2 - 1) early = (await megabytes()) - before
  }
  // 15 bytes each, and as many again while a table has grown: see identities.ts.
  const known = ((settlings / 2) * portion * 30) / 1e6
  return { count, settlings, early, late: (await megabytes()) - before, known }
}

const SERVICES = 10
const OPERATIONS = 30
const DAYS = 30

/**
 * An embedded store with 30 days of one service, by the hour, and 24 hours of 300 operations, every ten minutes. The folder makes
 * rows of all grains of it.
 */
async function stored(rounds: number) {
  const folder = mkdtempSync(join(tmpdir(), 'milo-bench-'))
  try {
    const path = join(folder, 'milo.db')
    const endUs = Math.floor(Date.now() / 86_400_000) * 86_400e6
    await fill(path, endUs)
    const bytes = readdirSync(folder).reduce((sum, file) => sum + statSync(join(folder, file)).size, 0)
    const none = { hostname: '127.0.0.1', port: 1, username: '', password: '' }
    const store = await parts.openStore({
      store: 'embedded',
      embedded: { path },
      cassandra: { ...none, local_dc: '', keyspace: '' },
      mysql: { ...none, database: '' },
    })
    const hourUs = 60 * MINUTE_US
    const kinds: ActivityQuery['kinds'] = ['operations']
    const questions = [
      {
        what: `${DAYS} days of a service with ${OPERATIONS} operations, by the hour`,
        must: 'month',
        query: { fromUs: endUs - DAYS * 24 * hourUs, toUs: endUs, stepUs: hourUs, kinds, service: 'service-0' },
        entries: DAYS * 24 * OPERATIONS,
      },
      {
        what: `24 hours of ${SERVICES * OPERATIONS} operations, by ten minutes`,
        must: 'day',
        query: { fromUs: endUs - 24 * hourUs, toUs: endUs, stepUs: 10 * MINUTE_US, kinds },
        entries: 24 * 6 * SERVICES * OPERATIONS,
      },
    ]
    const reads = []
    for (const { what, must, query, entries } of questions) {
      const [ms, pauses]: number[][] = [[], []]
      for (let round = -2; round < rounds; round++) {
        const from = performance.now()
        const found = await read(store, query)
        const took = performance.now() - from
        if (found !== entries) throw new Error(`${what}: ${found} entries in place of ${entries}`)
        const pause = await pauseOf(async () => void (await read(store, query)))
        if (round < 0) continue
        ms!.push(took)
        pauses!.push(pause)
      }
      reads.push({ what, must, ms: median(ms!), pause: median(pauses!) })
    }
    await store.close()
    return { bytes, reads }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Adds up by operation, and by service and step, as the API does. @returns how many counters it has read */
async function read(store: Awaited<ReturnType<typeof parts.openStore>>, query: ActivityQuery): Promise<number> {
  const sums = new Map<string, InstanceType<typeof Counter>>()
  let entries = 0
  const sumOf = (key: string) => {
    let sum = sums.get(key)
    if (sum === undefined) sums.set(key, (sum = new Counter()))
    return sum
  }
  await parts.readActivity(
    query => store.activity(query),
    query,
    ({ minute, key, addTo }) => {
      entries++
      addTo(sumOf(key))
      addTo(sumOf(`${parts.operationOf(key).service} ${Math.floor((minute * MINUTE_US) / query.stepUs)}`))
    },
  )
  return entries
}

async function fill(path: string, endUs: number): Promise<void> {
  const file = new parts.EmbeddedFile(path, () => {})
  const gauss = normal(dice(SEED))
  let seq = 0n
  const settle = (startUs: number, services: number) => {
    const operations: DeltaMinute['operations'] = new Map()
    for (let service = 0; service < services; service++) {
      for (let i = 0; i < OPERATIONS; i++) {
        const key = operationKey({ service: `service-${service}`, name: `Shop.operation${i}`, side: 'server' })
        operations.set(key, counterOf(20, startUs, gauss))
      }
    }
    const delta: Delta = new Map([[startUs / MINUTE_US, { operations, edges: new Map() }]])
    seq++
    file.background(() => {
      file.sql.insertSettled.run([seq, BigInt(endUs), BigInt(endUs), parts.writeDelta(delta), Buffer.alloc(0)])
      file.sql.updateActivitySettled.run([seq])
    })
  }
  const fail = (error: unknown) => {
    throw error
  }
  const folder = new parts.Folder(new parts.EmbeddedActivity(file), {
    retentionDays: 7,
    activityDays: 400,
    nowUs: () => endUs + 10 * MINUTE_US,
    surelyUs: () => endUs + 10 * MINUTE_US,
    onError: fail,
    onDamage: fail,
  })
  const dayUs = 1440 * MINUTE_US
  for (let us = endUs - DAYS * dayUs; us < endUs - dayUs; us += 60 * MINUTE_US) settle(us, 1)
  for (let us = endUs - dayUs; us < endUs; us += 10 * MINUTE_US) settle(us, SERVICES)
  await folder.work()
  await folder.close()
  file.close()
}

void main()
