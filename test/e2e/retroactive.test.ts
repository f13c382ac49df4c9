import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT, runNode } from '../helpers/child'
import { type Collector, Program, startCollector } from '../helpers/programs'
import { entry, ScribePeer } from '../helpers/scribe-peer'
import { client, closeAll, plain } from '../helpers/thrift'
import { until } from '../helpers/until'

const APP = join(ROOT, 'test/fixtures/chain-app.cjs')

/** Three services in a chain, each a process, which call over Thrift and sample nothing. */
class Chain {
  readonly programs: Program[] = []
  front: any

  async start(scribe: string, env: Record<string, string> = {}): Promise<this> {
    let port: string | undefined
    for (const place of ['3', '2', '1']) {
      const program = new Program(process.execPath, ['-r', 'milo/register', APP], {
        MILO_SCRIBE: scribe,
        MILO_SERVICE: `service-${place}`,
        MILO_SAMPLER: 'never',
        MILO_RETROACTIVE: '1',
        PLACE: place,
        ...(port !== undefined && { NEXT_PORT: port }),
        ...env,
      })
      this.programs.unshift(program)
      port = (await program.printed(/listening on (\d+)/))[1]
    }
    this.front = client(plain, plain.Calculator, Number(port), {
      transport: 'TBufferedTransport',
      protocol: 'TBinaryProtocol',
    })
    return this
  }

  async stop(): Promise<void> {
    await Promise.all(this.programs.map(program => program.stop('SIGKILL')))
  }
}

describe('a chain of processes with histories', () => {
  const chain = new Chain()
  let collector: Collector

  before(async () => {
    collector = await startCollector()
    await chain.start(collector.scribe)
    // The first traces make the processes ask.
    assert.equal(await chain.front.ping('hello'), '1 2 3 end')
    await until('all processes ask the collector', async () => {
      const { services } = await json('/api/keeps')
      return services.length === 3
    })
  })

  after(async () => {
    closeAll()
    await chain.stop()
    await collector.stop()
  })

  const json = async (path: string, body?: object): Promise<any> => {
    const response = await fetch(`${collector.web}${path}`, {
      ...(body !== undefined && {
        method: 'POST',
        body: JSON.stringify(body),
        headers: { 'content-type': 'application/json' },
      }),
    })
    assert.ok(response.ok, `${path}: ${response.status} ${response.ok ? '' : await response.text()}`)
    return response.json()
  }

  const known = new Set<string>()
  const services = (records: any[]): string[] => records.map(({ service }) => service).sort()
  const WHOLE = ['service-1', 'service-1', 'service-2', 'service-2', 'service-3']
  /** The next trace in the store that has all records that it should. @param of whose they are, each as often */
  const nextTrace = (reason: string, of: string[]) =>
    until(`a trace that was kept for ${reason} is whole`, async () => {
      const { caught } = await json(`/api/keeps?reason=${reason}`)
      for (const { traceId } of caught.flatMap((one: any) => one.latest)) {
        if (known.has(traceId)) continue
        const found = await json(`/api/traces/${traceId}?form=records`)
        const left = services(found.records)
        if (!of.every(service => left.includes(service) && left.splice(left.indexOf(service), 1))) return undefined
        known.add(traceId)
        return { traceId, records: found.records as any[], ...(await json(`/api/traces/${traceId}`)) }
      }
      return undefined
    })

  it('keep the whole trace of an error deep in the chain, and nothing of the others', async () => {
    for (let i = 0; i < 50; i++) await chain.front.ping(`fine ${i}`)
    await assert.rejects(chain.front.ping('3=fail'))
    const trace = await nextTrace('error', WHOLE)
    assert.deepEqual(services(trace.records), WHOLE)
    for (const { probability } of trace.records) assert.equal(probability, 0)
    assert.deepEqual(trace.kept.missing, [])
    const { caught } = await json('/api/keeps')
    assert.equal(new Set(caught.flatMap((one: any) => one.latest.map(({ traceId }: any) => traceId))).size, 1)
  })

  it('keep a trace that one of them wants to keep, whose callees had forgotten it already', async () => {
    await chain.front.ping('1=keep')
    const trace = await nextTrace('because', WHOLE)
    assert.deepEqual(services(trace.records), WHOLE)
    const asked = trace.records.filter(({ annotations }: any) => annotations['milo.keep'] === 'asked')
    assert.ok(asked.length >= 3)
  })

  it('keep the next traces of an operation when somebody wants them', async () => {
    await json('/api/keep', { service: 'service-2', name: 'Base.ping', n: 2 })
    // The processes hear of it a moment later.
    const trace = await until('a trace is kept for it', async () => {
      await chain.front.ping('fine')
      const { caught } = await json('/api/keeps?reason=requested')
      return caught.length > 0 ? nextTrace('requested', WHOLE) : undefined
    })
    assert.deepEqual(services(trace.records), WHOLE)
  })

  it('hear over HTTP what to keep where their spans go by OTLP or Zipkin alone', async () => {
    const others = new Chain()
    try {
      await others.start('127.0.0.1:1', { MILO_EXPORT: `otlp:${collector.web},zipkin:${collector.web}` })
      const before = await json('/api/keeps')
      assert.equal(await others.front.ping('hello'), '1 2 3 end')
      await until('all of them ask', async () => {
        const { services } = await json('/api/keeps')
        return services.every(({ processes }: any, i: number) => processes > before.services[i].processes)
      })
      await assert.rejects(others.front.ping('3=fail,3=over HTTP'))
      const trace = await nextTrace('error', WHOLE)
      // Each of them goes to both exporters.
      assert.deepEqual([...new Set(services(trace.records))], ['service-1', 'service-2', 'service-3'])
      for (const { probability } of trace.records) assert.equal(probability, 0)
    } finally {
      await others.stop()
    }
  })

  it('say what is missing when one of them was killed in the middle', async () => {
    const middle = chain.programs[1]!
    // Thrift's client in the first process never hears of the end, and so this call isn't answered.
    chain.front.ping('2=hang').catch(() => {})
    await middle.printed(/hanging/)
    await middle.stop('SIGKILL')
    // What the one that is gone had called is there: its callee has been asked as well.
    const trace = await nextTrace('error', ['service-1', 'service-3'])
    assert.deepEqual(services(trace.records), ['service-1', 'service-3'])
    assert.ok(trace.kept.missing.length > 0, JSON.stringify(trace.kept))
  })
})

describe('a process with a history', () => {
  it('ends as without it while its question waits, and sends what was kept at the last moment', async () => {
    const peer = await ScribePeer.listen()
    let asked = 0
    // The first question is answered, and the second isn't.
    peer.keeps = poll => {
      if (asked++ === 0) poll.answer(1n, Buffer.alloc(0))
    }
    const text = `
      const milo = require('milo')
      milo.span('first', () => {})
      const timer = setInterval(() => {
        if (milo.stats().retroactive.feed !== 'connected') return
        clearInterval(timer)
        milo.span('last', last => {
          milo.span('before', () => {})
          last.fail('bad')
        })
      }, 5)`
    const { status, stdout, stderr } = await runNode(['-r', 'milo/register', '-e', text], {
      MILO_SCRIBE: peer.address,
      MILO_SAMPLER: 'never',
      MILO_RETROACTIVE: '1',
    })
    assert.deepEqual([status, stdout, stderr], [0, '', ''])
    assert.deepEqual(peer.spans.map(({ name }) => name).sort(), ['before', 'last'])
    await peer.close()
  })

  it('has one for each of its threads', async () => {
    const peer = await ScribePeer.listen()
    const processes = new Set<bigint>()
    peer.keeps = poll => processes.add(poll.process)
    const text = `
      const { Worker, isMainThread, parentPort } = require('node:worker_threads')
      const milo = require('milo')
      milo.span('work', () => {})
      const spans = milo.stats().retroactive.spans
      if (isMainThread) {
        const worker = new Worker(__filename)
        worker.on('message', theirs => console.log(spans, theirs))
        process.stdin.on('data', () => process.exit()).on('end', () => process.exit())
      } else {
        parentPort.postMessage(spans)
        parentPort.on('message', () => {})
      }`
    const folder = mkdtempSync(join(tmpdir(), 'milo-threads-'))
    const file = join(folder, 'threads.cjs')
    writeFileSync(file, text.replace("require('milo')", `require(${JSON.stringify(join(ROOT, 'dist/index.js'))})`))
    const program = new Program(process.execPath, ['-r', 'milo/register', file], {
      MILO_SCRIBE: peer.address,
      MILO_SAMPLER: 'never',
      MILO_RETROACTIVE: '1',
    })
    try {
      await program.printed(/^1 1$/m)
      await until('both threads ask', () => processes.size === 2)
    } finally {
      await program.stop('SIGKILL')
      rmSync(folder, { recursive: true })
      await peer.close()
    }
  })
})

describe('a chain of processes beside a collector that lies', () => {
  afterEach(() => closeAll())

  it('answers as without it, and sends no more than its limits when it is asked for everything', async () => {
    const peer = await ScribePeer.listen()
    const polls = { count: 0 }
    // Ids that nobody has, whenever somebody asks, and what it has been sent: all that it can know.
    peer.keeps = poll => {
      polls.count++
      const ids = Array.from({ length: 999 }, (_, i) => entry(0, BigInt(polls.count * 1_000 + i)))
      poll.answer(BigInt(Date.now()) * 1000n, Buffer.concat([...ids, entry(1, 0n, 255)]))
    }
    const chain = await new Chain().start(peer.address)
    try {
      // Nothing is slow among so few.
      for (let i = 0; i < 90; i++) assert.equal(await chain.front.ping(`${i}`), '1 2 3 end')
      await until('all have asked', () => polls.count > 10)
      assert.deepEqual(peer.spans, [])
    } finally {
      await chain.stop()
      await peer.close()
    }
  })

  it('answers as without it while the collector takes calls and says nothing, and when it is gone', async () => {
    const peer = await ScribePeer.listen()
    peer.react = () => 'silence'
    let asked = 0
    peer.keeps = () => void asked++
    const chain = await new Chain().start(peer.address)
    try {
      assert.equal(await chain.front.ping('x'), '1 2 3 end')
      await until('all ask', () => asked >= 3)
      await assert.rejects(chain.front.ping('2=fail'))
      await peer.close()
      for (let i = 0; i < 50; i++) assert.equal(await chain.front.ping(`${i}`), '1 2 3 end')
      for (const program of chain.programs) assert.ok(!program.ended)
      assert.equal(await chain.programs[0]!.stop(), null)
    } finally {
      await chain.stop()
    }
  })
})
