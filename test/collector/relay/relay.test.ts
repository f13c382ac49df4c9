import assert from 'node:assert/strict'
import { join } from 'node:path'
import Database from 'libsql'
import { createMetrics } from '../../../collector/src/metrics'
import { createRelay, type Relay, type RelayOptions } from '../../../collector/src/relay/relay'
import { ResultCode } from '../../../src/codec/scribe'
import { encodeRecord, readRecord } from '../../../src/codec/span'
import { Program } from '../../helpers/programs'
import { ScribePeer } from '../../helpers/scribe-peer'
import { until } from '../../helpers/until'
import { Flume } from '../../servers/flume'
import { freePort } from '../../servers/process'
import { thriftList, thriftSpan } from '../formats/zipkin-v1-thrift'
import { cleanUp, collector, logFrame, Peer, recordingLog, resultCode, temporaryDirectory, undo } from '../support'
import { log, relayedSpan } from './relayed-span'

const KILLS = Number(process.env.MILO_TEST_KILLS ?? 5)

describe('relay', () => {
  afterEach(undo)

  const newPath = () => join(temporaryDirectory(), 'relay.db')

  function relay(
    ports: number[],
    options: Partial<RelayOptions> = {},
  ): Relay & { metric(name: string): Promise<number> } {
    const metrics = createMetrics()
    const made = createRelay({
      path: newPath(),
      maxBytes: 10_000_000,
      upstreams: ports.map(port => ({ host: '127.0.0.1', port, tls: undefined })),
      base64: false,
      category: 'Milo-Trace',
      closeMs: 0,
      metrics,
      log: recordingLog().log,
      ...options,
    })
    let closed: Promise<void> | undefined
    const close = () => (closed ??= made.store.close())
    cleanUp.push(close)
    const metric = async (name: string) => {
      const { values } = (await metrics.registry.getSingleMetric(`milo_collector_relay_${name}`)!.get()) as any
      return values.reduce((sum: number, { value }: { value: number }) => sum + value, 0)
    }
    return { ...made, store: { ...made.store, close }, metric }
  }

  async function peer(port?: number): Promise<ScribePeer> {
    const made = await ScribePeer.listen(port)
    cleanUp.push(() => made.close())
    return made
  }

  async function send(to: Relay, ...ids: bigint[]): Promise<ResultCode> {
    const entries = ids.map(id => ({ category: 'Milo-Trace', message: encodeRecord(relayedSpan(id)) }))
    return log(to.ingest, entries)
  }

  const ids = ({ spans }: ScribePeer) => spans.map(({ id }) => id!)
  const numbers = (n: number) => Array.from({ length: n }, (_, i) => BigInt(i + 1))

  it('forwards what it is given, in order, and forgets it', async () => {
    const upstream = await peer()
    const r = relay([upstream.port])
    for (const id of numbers(100)) assert.equal(await send(r, id), ResultCode.OK)
    await until('all have arrived', () => upstream.spans.length === 100)
    assert.deepEqual(ids(upstream), numbers(100))
    await until('nothing is left', async () => (await r.metric('spooled_calls')) === 0)
    assert.equal(await r.metric('spooled_bytes'), 0)
    assert.equal(await r.metric('forwarded_calls_total'), 100)
  })

  it('answers an empty call, by which a network store of Scribe checks for a server', async () => {
    const r = relay([1])
    assert.equal(await log(r.ingest, []), ResultCode.OK)
    assert.equal(await r.metric('spooled_calls'), 0)
  })

  it('passes on every category, each entry as it came', async () => {
    const upstream = await peer()
    const r = relay([upstream.port])
    const entries = ['a', 'Milo-Trace'].map(category => ({ category, message: encodeRecord(relayedSpan(1n)) }))
    await log(r.ingest, entries)
    await until('both have arrived', () => upstream.spans.length === 2)
    assert.deepEqual(upstream.categories, ['a', 'Milo-Trace'])
  })

  it('keeps calls that no upstream accepts, and forwards them once one does, also after a restart', async () => {
    const port = await freePort()
    const path = newPath()
    const first = relay([port], { path })
    for (const id of numbers(20)) assert.equal(await send(first, id), ResultCode.OK)
    await first.store.close()
    relay([port], { path })
    const upstream = await peer(port)
    await until('all have arrived', () => upstream.spans.length === 20, 30_000)
    assert.deepEqual(ids(upstream), numbers(20))
  })

  it('goes to the next upstream when one is away, says TRY_LATER or answers nonsense', async () => {
    const nobody = await freePort()
    const busy = await peer()
    busy.react = () => ({ reply: ResultCode.TRY_LATER })
    const mad = await peer()
    mad.react = () => 'garbage'
    const good = await peer()
    const r = relay([nobody, busy.port, mad.port, good.port])
    await send(r, ...numbers(3))
    await until('they have arrived', () => good.spans.length === 3)
    assert.ok(busy.calls.length > 0 && mad.calls.length > 0)
    assert.equal(busy.spans.length + mad.spans.length, 0)
    await send(r, 4n)
    await until('that has arrived too', () => good.spans.length === 4)
    assert.equal(busy.calls.length, 1, 'the one that took the last is asked first')
  })

  it('says TRY_LATER when its spool is full, and takes calls again when some have been forwarded', async () => {
    const upstream = await peer()
    let open = false
    upstream.react = () => ({ reply: open ? ResultCode.OK : ResultCode.TRY_LATER })
    const r = relay([upstream.port], { maxBytes: 20_000 })
    const taken: bigint[] = []
    for (let id = 1n; (await send(r, id)) === ResultCode.OK; id++) taken.push(id)
    assert.ok(taken.length > 50)
    open = true
    await until('what was answered OK has arrived', () => upstream.spans.length >= taken.length, 30_000)
    assert.deepEqual(ids(upstream).slice(0, taken.length), taken)
    await until('it takes calls again', async () => (await send(r, 0n)) === ResultCode.OK)
  })

  it('takes a call that is larger than its whole spool once that is empty, and does not refuse it for ever', async () => {
    const port = await freePort()
    const r = relay([port!], { maxBytes: 1_000, retryMs: [1, 5] })
    assert.equal(await send(r, 1n), ResultCode.OK)
    assert.equal(await send(r, ...numbers(100)), ResultCode.TRY_LATER)
    const upstream = await peer(port)
    await until('it is taken', async () => (await send(r, ...numbers(100))) === ResultCode.OK)
    await until('all has arrived', () => upstream.spans.length === 101)
  })

  it('lets others pass a call that no upstream can take, and keeps it', async () => {
    const upstream = await peer()
    // Whatever holds span 2 breaks it.
    const isPoison = () => upstream.calls.length > 0 && lastCall().includes(2n)
    const lastCall = () => upstream.seen.at(-1) ?? []
    upstream.react = () => (isPoison() ? 'close' : { reply: ResultCode.OK })
    const r = relay([upstream.port], { retryMs: [1, 20] })
    for (const id of numbers(5)) await send(r, id)
    await until('the others have arrived', () => new Set(ids(upstream)).size === 4, 50_000)
    assert.deepEqual(
      [...new Set(ids(upstream))].sort((a, b) => Number(a - b)),
      [1n, 3n, 4n, 5n],
    )
    // The upstream has the last one a moment before the relay has its answer.
    await until('one call is kept', async () => (await r.metric('spooled_calls')) === 1)
  })

  it('puts aside a call that fails again and again while others are taken, and forgets none that waits', async () => {
    const upstream = await peer()
    const lastCall = () => upstream.seen.at(-1) ?? []
    upstream.react = () => (lastCall().includes(2n) ? 'close' : { reply: ResultCode.OK })
    const path = newPath()
    const r = relay([upstream.port], { path, retryMs: [1, 2] })
    await send(r, 2n)
    let id = 3n
    await until('it is put aside', async () => {
      await send(r, id++)
      return (await r.metric('put_aside_calls_total')) === 1
    })
    await until('the others have arrived', () => new Set(ids(upstream)).size === Number(id) - 3)
    await until('nothing is left', async () => (await r.metric('spooled_calls')) === 0)
    assert.equal(await r.metric('spooled_bytes'), 0)
    await r.store.close()
    const file = new Database(path)
    const [{ body, reason }] = file.prepare('SELECT body, reason FROM refused').all() as [any]
    file.close()
    assert.ok(Buffer.from(body).includes(encodeRecord(relayedSpan(2n))))
    assert.match(reason, /closed by the server/)
  })

  it('keeps everything when an upstream takes connections and no calls, or says TRY_LATER to one call for ever', async () => {
    const upstream = await peer()
    let closes = true
    const lastCall = () => upstream.seen.at(-1) ?? []
    upstream.react = () => {
      if (closes) return 'close'
      return { reply: lastCall().includes(1n) ? ResultCode.TRY_LATER : ResultCode.OK }
    }
    const r = relay([upstream.port], { retryMs: [1, 2] })
    for (const id of numbers(3)) await send(r, id)
    await until('all were tried often', () => upstream.calls.length > 60)
    closes = false
    await until('the others pass', () => new Set(ids(upstream)).size === 2)
    for (let id = 4n; id < 10n; id++) {
      await send(r, id)
      await until('it passes too', () => ids(upstream).includes(id))
    }
    await until('one call is kept', async () => (await r.metric('spooled_calls')) === 1)
    assert.equal(await r.metric('put_aside_calls_total'), 0)
  })

  it('loses nothing that it answered OK when it is killed', async function () {
    this.timeout(30_000 + KILLS * 30_000)
    const seed = Number(process.env.MILO_TEST_SEED ?? Date.now() % 100_000)
    const path = newPath()
    const upstream = await peer()
    const answered = new Set<bigint>()
    let random = seed
    for (let kill = 0; kill < KILLS; kill++) {
      random = (random * 1_103_515_245 + 12_345) % 2 ** 31
      const wanted = 50 + (random % 500)
      const program = new Program(process.execPath, [
        '--require',
        'tsx/cjs',
        join(__dirname, 'relay-process.ts'),
        path,
        String(upstream.port),
        String(kill),
      ])
      const printed = () => program.stdout.slice(0, program.stdout.lastIndexOf('\n') + 1).match(/\d+/g) ?? []
      await until(`${wanted} are answered`, () => printed().length >= wanted || program.mustRun(), 30_000)
      await program.stop('SIGKILL')
      for (const id of printed()) answered.add(BigInt(id))
    }
    relay([upstream.port], { path })
    const missing = () => {
      const arrived = new Set(ids(upstream))
      return [...answered].filter(id => !arrived.has(id))
    }
    await until(`all have arrived (seed ${seed})`, () => missing().length === 0, 30_000)
  })

  it('refuses a spool that another process has, or that is no spool', async () => {
    const path = newPath()
    relay([1], { path })
    assert.throws(() => relay([1], { path }), { code: 'MILO_STORE_LOCKED' })
  })

  it('is a collector of its own: what it takes by Scribe and by HTTP is found in the one that it forwards to', async () => {
    const keeps = await collector()
    const relays = await collector({
      store: 'scribe',
      relay: {
        path: newPath(),
        max_bytes: 10_000_000,
        upstreams: [{ host: '127.0.0.1', port: keeps.scribePorts[0]! }],
        base64: false,
        tls: undefined,
      },
    })
    const span = { traceId: '7'.repeat(32), id: '7'.repeat(16), name: 'by http', timestamp: 1, duration: 1 }
    const posted = await fetch(`${relays.url}/api/v2/spans`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify([span]),
    })
    assert.equal(posted.status, 202)
    await until('it is found', async () => (await keeps.get(`/api/traces/${span.traceId}`)).status === 200)
    // Zipkin's first format: by HTTP as Milo's records, by Scribe unread, for the other one to read.
    const [overHttp, overScribe] = ['8', '9'].map(digit => ({ ...span, traceId: digit.repeat(32) })) as [
      typeof span,
      typeof span,
    ]
    const old = await fetch(`${relays.url}/api/v1/spans`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-thrift' },
      body: new Uint8Array(thriftList([overHttp])),
    })
    assert.equal(old.status, 202)
    const entry = Buffer.from(thriftSpan(overScribe).toString('base64'))
    const answer = await new Peer(relays.scribePorts[0]!).call(logFrame([entry], { category: 'zipkin' }))
    assert.equal(resultCode(answer), ResultCode.OK)
    for (const { traceId } of [overHttp, overScribe]) {
      await until('it is found', async () => (await keeps.get(`/api/traces/${traceId}`)).status === 200)
    }
    assert.equal((await relays.get('/readyz')).status, 200)
    const { status, body } = await relays.get('/api/search')
    assert.deepEqual([status, body.code], [400, 'MILO_STORE_ELSEWHERE'])
  })

  describe('to Flume', () => {
    it('passes base64 through a server that keeps text only, and waits while its channel is full', async () => {
      const flume = await Flume.start()
      cleanUp.push(() => flume.stop())
      const r = relay([flume.port], { base64: true })
      for (const id of numbers(200)) assert.equal(await send(r, id), ResultCode.OK)
      const arrived = () => flume.messages().map(text => readRecord(Buffer.from(text, 'base64'), 0).record)
      await until('all have arrived', () => flume.messages().length === 200, 30_000)
      assert.deepEqual(
        arrived().map(({ id, annotations }) => [id, annotations]),
        numbers(200).map(id => [id, relayedSpan(id).annotations]),
      )
    })

    it('keeps what a full Flume does not take', async () => {
      const flume = await Flume.start({ capacity: 10, sink: false })
      cleanUp.push(() => flume.stop())
      const r = relay([flume.port], { base64: true })
      for (const id of numbers(50)) assert.equal(await send(r, id), ResultCode.OK)
      await until('Flume has said TRY_LATER', async () => (await r.metric('failures_total')) > 0)
      assert.ok((await r.metric('spooled_calls')) > 0)
      // Read one after the other, and one may have been forwarded in between.
      await until('all are counted', async () => {
        return (await r.metric('spooled_calls')) + (await r.metric('forwarded_calls_total')) === 50
      })
    })
  })
})
