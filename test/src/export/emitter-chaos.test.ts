import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { finished, ROOT } from '../../helpers/child'
import { type Reaction, ScribePeer } from '../../helpers/scribe-peer'
import { seeded } from '../../helpers/seeded'
import { until } from '../../helpers/until'

/** A loaded HTTP server: it calls itself, and reports what it sees of itself when it is told to end. */
const APPLICATION = `
  const http = require('node:http')
  const milo = require('milo')
  const bad = []
  let answered = 0
  let outsideHeapBytes = 0
  function look() {
    outsideHeapBytes = Math.max(outsideHeapBytes, process.memoryUsage().external)
    const { exports, ...sums } = milo.stats()
    for (const { ended, sent, buffered, inFlight, spooled, dropped, drops } of [sums, ...Object.values(exports)]) {
      const sum = Object.values(drops).reduce((a, b) => a + b, 0)
      if (ended !== sent + buffered + inFlight + spooled + dropped || dropped !== sum || Math.min(sent, buffered, inFlight, spooled) < 0)
        bad.push([ended, sent, buffered, inFlight, spooled, dropped, drops])
    }
  }
  const agent = new http.Agent({ keepAlive: true, maxSockets: 8 })
  const server = http.createServer((req, res) => {
    for (let i = 0; i < 10; i++) milo.span('part ' + i, s => s.annotate('text', 'x'.repeat(500)))
    res.end('ok')
  })
  server.listen(0, '127.0.0.1', () => {
    const { port } = server.address()
    const call = () => http.get({ port, host: '127.0.0.1', agent }, res => {
      res.resume().on('end', () => { answered++; look(); setImmediate(call) })
    }).on('error', () => {})
    for (let i = 0; i < 4; i++) call()
    process.stdout.write('ready\\n')
  })
  // The test has ended, however it did.
  process.on('disconnect', () => process.exit())
  process.on('message', () => {
    look()
    process.send({ bad, answered, outsideHeapBytes, uptimeMs: 1000 * process.uptime(), stats: milo.stats() })
  })
`

interface Report {
  bad: unknown[]
  answered: number
  /** Of buffers, at most. */
  outsideHeapBytes: number
  uptimeMs: number
  stats: Counts & { exports: Record<string, Counts> }
}

type Counts = Record<'ended' | 'sent' | 'failures' | 'tryLater' | 'spooled' | 'dropped', number>

/** A heap in which the application and Milo's buffer (16 MiB by default) have room, and no more: a leak ends the process. */
const HEAP_MIB = 96
const OUTSIDE_HEAP_BYTES = 64 * 1024 * 1024
/** The shortest pause after a round of failures: a loop that spins, or a connection for each request, fails more often. */
const MIN_PAUSE_MS = 50

describe('beside a Scribe that misbehaves by chance', () => {
  const seed = Number(process.env.MILO_TEST_SEED ?? Date.now() % 1_000_000)
  const random = seeded(seed)
  const choice = <C>(choices: readonly C[]): C => choices[Math.floor(random() * choices.length)]!

  const reactions: Reaction[] = [
    { reply: 0 },
    { reply: 0 },
    { reply: 0, strict: false },
    { reply: 1 },
    'exception',
    'silence',
    'close',
    'reset',
    'garbage',
    'huge length',
    'byte by byte',
    'half a reply',
    'two replies',
    'another call’s reply',
  ]
  let peers: ScribePeer[]
  let rude: Server
  const sockets = new Set<Socket>()
  let spool: string
  const children: ChildProcess[] = []

  beforeEach(async () => {
    console.log(`      MILO_TEST_SEED=${seed}`)
    peers = await Promise.all([ScribePeer.listen(), ScribePeer.listen()])
    for (const peer of peers) peer.react = () => choice(reactions)
    // One that talks before it is asked, without end, and reads nothing.
    rude = createServer(socket => {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => sockets.delete(socket))
      const talk = () => {
        if (!socket.destroyed) socket.write(Buffer.alloc(64 * 1024, 0), () => setImmediate(talk))
      }
      talk()
    }).listen(0, '127.0.0.1')
    await until('it listens', () => rude.listening)
    spool = mkdtempSync(join(tmpdir(), 'milo-chaos-'))
  })

  afterEach(async () => {
    for (const child of children.splice(0)) {
      if (child.exitCode !== null || child.signalCode !== null) continue
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    }
    await Promise.all(peers.map(peer => peer.close()))
    for (const socket of sockets) socket.destroy()
    rude.close()
    rmSync(spool, { recursive: true, force: true })
  })

  function application(env: Record<string, string>): ChildProcess {
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('MILO_'))
    const child = spawn(
      process.execPath,
      [`--max-old-space-size=${HEAP_MIB}`, '-r', './dist/register.js', '-e', APPLICATION],
      {
        cwd: ROOT,
        env: { ...Object.fromEntries(inherited), MILO_SAMPLER: 'always', MILO_LOG_LEVEL: 'silent', ...env },
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      },
    )
    children.push(child)
    return child
  }

  async function report(child: ChildProcess): Promise<Report> {
    const answer = new Promise<Report>(resolve => child.once('message', message => resolve(message as Report)))
    child.send('report')
    return answer
  }

  /** Lets it work until `enough`, ends it by SIGTERM, and returns its last report. */
  async function load(env: Record<string, string>, enough: (seen: Report) => boolean): Promise<Report> {
    const child = application(env)
    const end = finished(child, 110_000)
    await new Promise(resolve => child.stdout!.once('data', resolve))
    const seen = await until(
      'it has worked enough',
      async () => {
        const now = await report(child)
        await new Promise(resolve => setTimeout(resolve, 50))
        return enough(now) ? now : undefined
      },
      90_000,
    )
    child.kill('SIGTERM')
    const { status, signal, stderr } = await end
    assert.deepEqual([status, signal, stderr], [null, 'SIGTERM', ''])
    assert.deepEqual(seen.bad, [])
    assert.ok(seen.outsideHeapBytes < OUTSIDE_HEAP_BYTES, `${seen.outsideHeapBytes} bytes of buffers`)
    return seen
  }

  for (const withSpool of [false, true]) {
    it(`a loaded server stays within its memory, ends as it would, and loses no count${withSpool ? ', with a spool' : ''}`, async function () {
      this.timeout(120_000)
      const scribe = `127.0.0.1:${(rude.address() as AddressInfo).port},${peers.map(peer => peer.address).join(',')}`
      const having = await load(
        { MILO_SCRIBE: scribe, ...(withSpool && { MILO_SPOOL: spool, MILO_SPOOL_MAX_BYTES: '8000000' }) },
        ({ stats }) => stats.ended > 15_000 && stats.failures + stats.tryLater > 8 && (!withSpool || stats.spooled > 0),
      )
      assert.ok(peers.reduce((sum, peer) => sum + peer.spans.length, 0) >= having.stats.sent)
    })
  }

  for (const [what, scribe] of [
    ['is dead', () => '127.0.0.1:1'],
    ['hangs', () => peers[0]!.address],
    ['talks without end', () => `127.0.0.1:${(rude.address() as AddressInfo).port}`],
  ] as const) {
    it(`a loaded server goes on when Scribe ${what}: a full buffer, drops that are counted, and bounded memory`, async function () {
      this.timeout(120_000)
      peers[0]!.react = () => 'silence'
      const { stats, uptimeMs } = await load({ MILO_SCRIBE: scribe() }, seen => seen.stats.dropped > 2_000)
      const most = uptimeMs / MIN_PAUSE_MS + 1
      assert.ok(stats.failures <= most, `${stats.failures} failures in ${uptimeMs} ms`)
    })
  }

  it('a loaded server goes on when one exporter hangs, one talks without end, one is dead and one takes all', async function () {
    this.timeout(120_000)
    peers[0]!.react = () => 'silence'
    peers[1]!.react = () => ({ reply: 0 })
    const rudePort = (rude.address() as AddressInfo).port
    const { stats } = await load(
      {
        MILO_EXPORT: `otlp:http://${peers[0]!.address},zipkin:http://127.0.0.1:${rudePort},otlp:http://127.0.0.1:1,scribe`,
        MILO_SCRIBE: peers[1]!.address,
      },
      ({ stats: { exports } }) =>
        exports.otlp!.dropped > 2_000 && exports['otlp-2']!.dropped > 2_000 && exports.scribe!.sent > 5_000,
    )
    const { otlp, zipkin } = stats.exports
    assert.equal(otlp!.sent + zipkin!.sent, 0)
    assert.ok(zipkin!.failures > 0)
  })
})
