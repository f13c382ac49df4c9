import assert from 'node:assert/strict'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { ROOT } from '../helpers/child'
import { type Collector, Program, startCollector } from '../helpers/programs'
import { client, closeAll, plain } from '../helpers/thrift'
import { until } from '../helpers/until'
import { JavaPeer, javaWithThrift } from '../servers/java'

const APP = join(ROOT, 'test/fixtures/chain-app.cjs')

describe('a trace that was kept after the fact, and isn’t whole', () => {
  const programs: Program[] = []
  const peers: JavaPeer[] = []
  let collector: Collector

  before(async function () {
    this.timeout(600_000)
    await javaWithThrift()
    collector = await startCollector()
    peers.push(
      ...(await Promise.all([JavaPeer.start({ OTEL_TRACES_SAMPLER: 'parentbased_always_on' }), JavaPeer.start()])),
    )
  })

  after(async () => {
    closeAll()
    await Promise.all([...programs.map(program => program.stop('SIGKILL')), ...peers.map(peer => peer.stop())])
    await collector.stop()
  })

  /** Starts a service of a chain. @returns its port */
  async function start(service: string, env: Record<string, string>): Promise<{ program: Program; port: number }> {
    const program = new Program(process.execPath, ['-r', 'milo/register', APP], {
      MILO_SCRIBE: collector.scribe,
      MILO_SERVICE: service,
      MILO_SAMPLER: 'never',
      MILO_RETROACTIVE: '1',
      ...env,
    })
    programs.push(program)
    const [, port] = await program.printed(/listening on (\d+)/)
    return { program, port: Number(port) }
  }

  const callerOf = (port: number) =>
    client(plain, plain.Calculator, port, { transport: 'TBufferedTransport', protocol: 'TBinaryProtocol' })

  async function json(path: string, body?: object): Promise<any> {
    const posted = {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    }
    const response = await fetch(`${collector.web}${path}`, body && posted)
    if (response.status === 404) return undefined
    assert.ok(response.ok, `${path}: ${response.status}`)
    return response.json()
  }

  const allAsk = (services: string[]) =>
    until('all services ask the collector', async () => {
      const asking = (await json('/api/keeps')).services.map(({ service }: any) => service)
      return services.every(service => asking.includes(service))
    })

  /** The services whose records are there, once there are so many, and what the trace says is missing, once it does. */
  const kept = (traceId: string, records: number, says: RegExp) =>
    until(`the trace has ${records} records, and says ${says}`, async () => {
      const found = await json(`/api/traces/${traceId}?form=records`)
      if ((found?.records.length ?? 0) < records) return undefined
      const { missing } = (await json(`/api/traces/${traceId}`)).kept
      if (!missing.some(({ why }: any) => says.test(why))) return undefined
      return { services: found.records.map(({ service }: any) => service).sort(), missing }
    })

  it('says that a process had lost its connection before it could answer', async () => {
    const last = await start('killed', { PLACE: '3' })
    const middle = await start('middle', { PLACE: '2', NEXT_PORT: String(last.port) })
    const front = callerOf((await start('front', { PLACE: '1', NEXT_PORT: String(middle.port) })).port)
    await front.ping('hello')
    await allAsk(['front', 'middle', 'killed'])
    const traceId = await front.ping('1=id')
    await last.program.stop('SIGKILL')
    await json('/api/keep', { traceId })
    const trace = await kept(traceId, 4, /unknown|ended/)
    assert.deepEqual(trace.services, ['front', 'front', 'middle', 'middle'])
    const [half, ...others] = trace.missing
    assert.deepEqual(others, [])
    assert.equal(half.side, 'server')
    assert.match(half.detail, /^killed on .* lost its connection,? at /)
  })

  it('names the process that was called, by where it listens, until it has sent what it has', async () => {
    const address = Object.values(networkInterfaces())
      .flatMap(all => all ?? [])
      .find(({ family, internal }) => family === 'IPv4' && !internal)?.address
    const places = [{ HOST: '::', NEXT_HOST: '127.0.0.1' }]
    // This machine may have no other address than the loopback's.
    if (address !== undefined) {
      places.push({ HOST: address, NEXT_HOST: address }, { HOST: '0.0.0.0', NEXT_HOST: address })
    }
    await Promise.all(
      places.map(async ({ HOST, NEXT_HOST }, i) => {
        const [service, caller] = [`stopped-${i}`, `caller-${i}`]
        const last = await start(service, { PLACE: '2', HOST })
        const env = { PLACE: '1', NEXT_HOST, NEXT_PORT: String(last.port) }
        const front = callerOf((await start(caller, env)).port)
        await front.ping('hello')
        await allAsk([service, caller])
        const traceId = await front.ping('1=id')
        last.program.child.kill('SIGSTOP')
        await json('/api/keep', { traceId })
        const { missing } = await kept(traceId, 2, /unsent/)
        assert.deepEqual(
          missing.map(({ side, service, why }: any) => [side, service, why]),
          [['server', service, 'unsent']],
        )
        last.program.child.kill('SIGCONT')
        await until('it is whole', async () => (await json(`/api/traces/${traceId}`)).kept.missing.length === 0)
        const { reasons } = (await json(`/api/traces/${traceId}`)).kept
        assert.deepEqual(reasons, [{ reason: 'requested', service: null, name: '', spanId: null, by: null }])
      }),
    )
  })

  it('misses a process without a history that passes ids on: who answers in its place listens elsewhere', async () => {
    const last = await start('far', { PLACE: '3' })
    const env = { PLACE: '2', MILO_RETROACTIVE: '0', NEXT_PORT: String(last.port) }
    const middle = await start('between', env)
    const front = callerOf((await start('near', { PLACE: '1', NEXT_PORT: String(middle.port) })).port)
    await front.ping('hello')
    await allAsk(['near', 'far'])
    const traceId = await front.ping('1=id')
    await json('/api/keep', { traceId })
    const { services, missing } = await kept(traceId, 3, /no_history/)
    assert.deepEqual(services, ['far', 'near', 'near'])
    assert.deepEqual(
      missing.map(({ side, host, why }: any) => [side, host, why]),
      [['server', '127.0.0.1', 'no_history']],
    )
    assert.match(missing[0].detail, /passed on: far has answered Base\.ping/)
  })

  describe('with a Java service between two processes', () => {
    const reached = async (peer: JavaPeer) => {
      const last = await start('last', { PLACE: '2', MILO_PROPAGATION: 'compat' })
      const env = {
        PLACE: '1',
        MILO_PROPAGATION: 'compat',
        NEXT_PORT: String(peer.port('TThreadPoolServer', 'binary')),
        NEXT_IS_TOLD: `forward buffered binary ${last.port} `,
      }
      const front = callerOf((await start('first', env)).port)
      await front.ping('hello')
      await allAsk(['first', 'last'])
      return front
    }

    it('is one trace through OpenTelemetry’s agent, and says that the service between has no history', async () => {
      const front = await reached(peers[0]!)
      const traceId = await front.ping('1=id')
      await json('/api/keep', { traceId })
      const trace = await kept(traceId, 3, /no_history/)
      assert.deepEqual(trace.services, ['first', 'first', 'last'])
      // What the first one called, and who called the last one: any process on this machine may have.
      assert.deepEqual(trace.missing.map(({ side, why }: any) => [side, why]).sort(), [
        ['client', 'unknown'],
        ['server', 'no_history'],
      ])
      assert.deepEqual(peers[0]!.agentSpans, [])
    })

    it('ends where Java knows nothing of tracing, and says so', async () => {
      const front = await reached(peers[1]!)
      const traceId = await front.ping('1=id')
      await json('/api/keep', { traceId })
      const trace = await kept(traceId, 2, /no_history/)
      assert.deepEqual(trace.services, ['first', 'first'])
      assert.deepEqual(
        trace.missing.map(({ side, why }: any) => [side, why]),
        [['server', 'no_history']],
      )
    })
  })
})
