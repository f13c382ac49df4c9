import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Finished, finished, runNode, startNode } from '../../helpers/child'
import { ScribePeer } from '../../helpers/scribe-peer'
import { until } from '../../helpers/until'

/** The application's part: it says when it is ready, and keeps running. */
const PRELUDE = `
  const milo = process.env.MILO_SCRIBE ? require('milo') : { span() {} }
  const keep = setInterval(() => {}, 1000)
  const ready = () => { milo.span('last', () => {}); process.stdout.write('ready\\n') }
  // A while later, but not before Milo has had the time that it needs.
  const later = (ms, done) => setTimeout(() => (milo.stats?.().sent === 0 ? later(ms, done) : done()), ms)
`

function start(body: string, env: Record<string, string>) {
  const args = env.MILO_SCRIBE === undefined ? [] : ['-r', './dist/register.js']
  return startNode([...args, '-e', PRELUDE + body], { MILO_SAMPLER: 'always', ...env })
}

/** Runs the program, and sends it the signal once it is ready. */
async function signalled(body: string, signal: NodeJS.Signals, env: Record<string, string> = {}): Promise<Finished> {
  const child = start(body, env)
  child.stdout!.on('data', data => {
    if (String(data).includes('ready')) child.kill(signal)
  })
  return finished(child)
}

describe('a signal', () => {
  let peer: ScribePeer
  beforeEach(async () => {
    peer = await ScribePeer.listen()
  })
  afterEach(() => peer.close())

  const programs: [string, string][] = [
    ['nobody listens', `ready()`],
    ['a listener exits', `process.on('SIG', () => process.exit(5)); ready()`],
    [
      'a listener lets the loop run empty',
      `process.on('SIG', s => { console.log(s); clearInterval(keep); process.exitCode = 6 }); ready()`,
    ],
    ['a listener takes its time', `process.on('SIG', () => later(300, () => process.exit(7))); ready()`],
    ['a listener ignores it', `process.on('SIG', () => {}); later(400, () => process.exit(8)); ready()`],
    [
      'a listener hears it once, and ends later',
      `process.once('SIG', () => later(300, () => process.exit(9))); ready()`,
    ],
    [
      'a listener sends it again when it has cleaned up',
      `process.once('SIG', s => setTimeout(() => { console.log('clean'); process.kill(process.pid, s) }, 50)); ready()`,
    ],
    ['a listener sends it again at once', `process.once('SIG', s => process.kill(process.pid, s)); ready()`],
    ['a listener throws', `process.on('SIG', () => { throw new Error('mine') }); ready()`],
    [
      'the application adds a listener only where there is none',
      `console.log(process.listenerCount('SIG'), process.listeners('SIG').length, process.rawListeners('SIG').length,
         process.eventNames().includes('SIG'))
       if (process.listenerCount('SIG') === 0) process.on('SIG', () => process.exit(10))
       console.log(process.listenerCount('SIG')); ready()`,
    ],
    ['the last listener has been removed', `const f = () => {}; process.on('SIG', f); process.off('SIG', f); ready()`],
    [
      'listeners were added and removed in every way',
      `process.once('SIG', () => {}); process.prependListener('SIG', () => {}); process.removeAllListeners('SIG')
       process.on('SIG', () => {}); process.removeAllListeners('SIG'); ready()`,
    ],
    [
      'a library dies of it when it is the only one that listens, as signal-exit does',
      `const mine = () => {
         if (process.listeners('SIG').length !== 1) return
         process.removeListener('SIG', mine); console.log('cleaned'); process.kill(process.pid, 'SIG')
       }
       process.on('SIG', mine); ready()`,
    ],
    [
      'process.emit is another’s',
      `const emit = process.emit; process.emit = function (name, ...rest) { if (name === 'SIG') console.log('seen'); return emit.call(this, name, ...rest) }
       process.on('SIG', () => process.exit(11)); ready()`,
    ],
  ]

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    for (const [what, body] of programs) {
      it(`${signal} ends the process as without Milo when ${what}`, async () => {
        const program = body.replaceAll('SIG', signal)
        const [without, having] = await Promise.all([
          signalled(program, signal),
          signalled(program, signal, { MILO_SCRIBE: peer.address }),
        ])
        assert.deepEqual(
          [having.status, having.signal, having.stdout],
          [without.status, without.signal, without.stdout],
          having.stderr,
        )
        // One that exits at once may lose its last spans.
        if (!/process\.exit\((5|10|11)\)|throw/.test(program))
          assert.deepEqual(
            peer.spans.map(s => s.name),
            ['last'],
          )
      })
    }
  }

  it('ends a process without a listener although Scribe hangs or is dead', async () => {
    const silent = createServer(() => {}).listen(0, '127.0.0.1')
    await until('it listens', () => silent.listening)
    const { port } = silent.address() as { port: number }
    const scribes = [`127.0.0.1:${port}`, '127.0.0.1:1']
    for (const run of await Promise.all(
      scribes.map(scribe => signalled('ready()', 'SIGTERM', { MILO_SCRIBE: scribe })),
    )) {
      assert.deepEqual([run.status, run.signal], [null, 'SIGTERM'])
      assert.match(run.stderr, /1 span could not be sent/)
    }
    silent.close()
  })

  it('doesn’t wait for Scribe when it comes a second time', async () => {
    peer.react = () => 'silence'
    const child = start(`milo.init({ sampler: 'always', exitTimeoutMs: 60000 }); ready()`, {
      MILO_SCRIBE: peer.address,
    })
    child.stdout!.once('data', () => child.kill('SIGTERM'))
    const end = finished(child, 30_000)
    await until('it flushes', () => peer.calls.length > 0)
    child.kill('SIGINT')
    assert.equal((await end).signal, 'SIGINT')
  })

  it('kills a process that began to listen only while Milo flushed', async () => {
    peer.react = () => 'silence'
    const body = `setInterval(() => { if (process.listenerCount('SIGTERM') === 0 && milo.stats().inFlight) process.on('SIGTERM', () => {}) }, 1); ready()`
    const run = await signalled(body, 'SIGTERM', { MILO_SCRIBE: peer.address })
    assert.deepEqual([run.status, run.signal], [null, 'SIGTERM'])
  })

  it('is left to Node again after shutdown', async () => {
    const body = `milo.shutdown().then(() => { console.log(process.listenerCount('SIGTERM'), process.listenerCount('beforeExit')); ready() })`
    const run = await signalled(body, 'SIGTERM', { MILO_SCRIBE: peer.address })
    assert.deepEqual([run.signal, run.stdout.split('\n')[0]], ['SIGTERM', '0 0'])
  })

  it('reaches listeners that were there before Milo', async () => {
    const body = `process.on('SIGTERM', () => process.exit(3)); const m = require('milo'); m.init({ scribe: '${peer.address}' }); ready()`
    const run = await signalled(body, 'SIGTERM')
    assert.deepEqual([run.status, run.signal], [3, null], run.stderr)
  })

  it('saves what can’t be sent in the spool before the process dies', async () => {
    const spool = mkdtempSync(join(tmpdir(), 'milo-exit-'))
    try {
      const run = await signalled('ready()', 'SIGTERM', { MILO_SCRIBE: '127.0.0.1:1', MILO_SPOOL: spool })
      assert.deepEqual([run.signal, run.stderr.includes('could not be sent')], ['SIGTERM', false])
      assert.equal(readdirSync(spool).filter(name => name.endsWith('.spans')).length, 1)
      const whenSent = `const look = setInterval(() => {
        if (require('fs').readdirSync(process.env.MILO_SPOOL).some(name => name.endsWith('.spans'))) return
        clearInterval(look)
        ready()
      }, 5)`
      const next = await signalled(whenSent, 'SIGTERM', {
        MILO_SCRIBE: peer.address,
        MILO_SPOOL: spool,
      })
      assert.equal(next.signal, 'SIGTERM')
      assert.equal(peer.spans.filter(s => s.name === 'last').length, 2)
      assert.deepEqual(readdirSync(spool), [])
    } finally {
      rmSync(spool, { recursive: true })
    }
  })
})

describe('the last spans of a process', () => {
  let peer: ScribePeer
  let folder: string
  beforeEach(async () => {
    peer = await ScribePeer.listen()
    folder = mkdtempSync(join(tmpdir(), 'milo-exit-'))
  })
  afterEach(async () => {
    await peer.close()
    rmSync(folder, { recursive: true })
  })

  const run = (body: string, env: Record<string, string> = {}) =>
    runNode(['-r', './dist/register.js', '-e', `const milo = require('milo'); ${body}`], {
      MILO_SCRIBE: peer.address,
      MILO_SAMPLER: 'always',
      ...env,
    })
  const names = () => peer.spans.map(s => s.name).sort()

  for (const [what, end, status] of [
    ['process.exit', 'process.exit(3)', 3],
    ['an exception that nobody catches', `setImmediate(() => { throw new Error('mine') })`, 1],
    ['a rejection that nobody handles', `Promise.reject(new Error('mine'))`, 1],
  ] as const) {
    it(`are in the spool after ${what}, and sent by the next process`, async () => {
      const first = await run(`for (let i = 0; i < 700; i++) milo.span('s', () => {}); ${end}`, { MILO_SPOOL: folder })
      assert.equal(first.status, status)
      assert.equal(readdirSync(folder).length, 2)
      await run(`const t = setInterval(() => milo.stats().recovered === 700 && clearInterval(t), 5)`, {
        MILO_SPOOL: folder,
      })
      // A batch may have been on its way already: what Scribe hasn't said OK to is sent again.
      assert.equal(new Set(peer.spans.map(s => s.id)).size, 700)
      assert.deepEqual(readdirSync(folder), [])
    })
  }

  it('are in the spool when the loop has run empty and Scribe is away, or hangs', async () => {
    const spool = join(folder, 'deep', 'er')
    const away = await run(`milo.span('a', () => {})`, { MILO_SCRIBE: '127.0.0.1:1', MILO_SPOOL: spool })
    assert.deepEqual([away.status, away.stderr.includes('could not be sent')], [0, false])
    peer.react = () => 'silence'
    const hangs = await run(`milo.span('b', () => {})`, { MILO_SPOOL: spool })
    assert.deepEqual([hangs.status, hangs.stderr], [0, ''])
    assert.equal(readdirSync(spool).filter(name => name.endsWith('.spans')).length, 2)
    assert.equal(readdirSync(spool).filter(name => name.endsWith('.alive')).length, 0)
  })

  it('arrive from worker threads, and a worker ends with the status it would have', async () => {
    const body = `
      const { Worker } = require('node:worker_threads')
      for (const i of [1, 2]) {
        const w = new Worker("require('milo').span('worker', () => {}); process.exitCode = 4", { eval: true })
        w.on('exit', code => { console.log(code); milo.span('main', () => {}) })
      }`
    const { status, stdout, stderr } = await run(body)
    assert.deepEqual([status, stdout, stderr], [0, '4\n4\n', ''])
    assert.deepEqual(names(), ['main', 'main', 'worker', 'worker'])
  })

  it('arrive from forked processes', async () => {
    const script = join(folder, 'child.js')
    const milo = JSON.stringify(process.cwd())
    writeFileSync(script, `require(${milo}).span('child', () => {}); process.send('done'); process.disconnect()`)
    const body = `
      const { fork } = require('node:child_process')
      const script = ${JSON.stringify(script)}
      for (const i of [1, 2]) fork(script).on('exit', code => milo.span('parent ' + code, () => {}))`
    const { status, stderr } = await run(body)
    assert.deepEqual([status, stderr], [0, ''])
    assert.deepEqual(names(), ['child', 'child', 'parent 0', 'parent 0'])
  })

  it('arrive from a cluster’s workers when the primary kills them', async () => {
    const body = `
      const cluster = require('node:cluster')
      const http = require('node:http')
      if (cluster.isPrimary) {
        let left = 2
        for (const i of [1, 2]) {
          const worker = cluster.fork()
          worker.on('listening', ({ port }) => {
            http.get({ port, host: '127.0.0.1', agent: false }, res => {
              res.resume().on('end', () => { if (--left === 0) for (const w of Object.values(cluster.workers)) w.process.kill('SIGTERM') })
            })
          })
          worker.on('exit', (code, signal) => console.log(code, signal))
        }
      } else {
        http.createServer((req, res) => milo.span('handled', () => res.end('ok'))).listen(0, '127.0.0.1')
      }`
    const script = join(folder, 'cluster.js')
    writeFileSync(script, `const milo = require(${JSON.stringify(process.cwd())}); ${body}`)
    const { status, stdout } = await runNode(['-r', './dist/register.js', script], {
      MILO_SCRIBE: peer.address,
      MILO_SAMPLER: 'always',
      MILO_PLUGINS: 'thrift',
    })
    assert.deepEqual([status, stdout], [0, 'null SIGTERM\nnull SIGTERM\n'])
    assert.deepEqual(names(), ['handled', 'handled'])
  })

  it('arrive once each from a cluster’s workers that are disconnected, or disconnect themselves', async () => {
    const script = join(folder, 'cluster.js')
    writeFileSync(
      script,
      `const milo = require(${JSON.stringify(process.cwd())})
      const cluster = require('node:cluster')
      const http = require('node:http')
      if (cluster.isPrimary) {
        const REQUESTS = 60
        const workers = [1, 2].map(() => cluster.fork())
        let listening = 0
        for (const worker of workers) {
          worker.on('exit', (code, signal) => console.log(code, signal))
          worker.on('listening', ({ port }) => ++listening === workers.length && load(port))
        }
        async function load(port) {
          const get = path => new Promise((resolve, reject) =>
            http.get({ port, host: '127.0.0.1', path, agent: false }, res => res.resume().on('end', resolve)).on('error', reject))
          await Promise.all(Array.from({ length: REQUESTS }, (_, i) => get('/' + i)))
          workers[0].disconnect()
          workers[1].send('disconnect')
        }
      } else {
        http.createServer((req, res) => milo.span('handled' + req.url, () => res.end('ok'))).listen(0, '127.0.0.1')
        process.on('message', () => {
          milo.span('told', () => {})
          cluster.worker.disconnect()
        })
      }`,
    )
    const { status, stdout, stderr } = await runNode(['-r', './dist/register.js', script], {
      MILO_SCRIBE: peer.address,
      MILO_SAMPLER: 'always',
      MILO_PLUGINS: 'thrift',
    })
    assert.deepEqual([status, stdout, stderr], [0, '0 null\n0 null\n', ''])
    const handled = Array.from({ length: 60 }, (_, i) => `handled/${i}`)
    assert.deepEqual(names(), [...handled, 'told'].sort())
    assert.equal(new Set(peer.spans.map(s => s.id)).size, 61)
  })

  it('have ended within the last 200 ms if they are lost by process.exit() in a handler', async () => {
    const body = `
      const ended = []
      // What is answered in one go follows what was before it after 100 ms; later where the machine has other work.
      let [n, sent, sentAt, longest] = [0, 0, performance.now(), 100]
      setInterval(() => {
        milo.span('s' + n++, () => {})
        const now = performance.now()
        ended.push(now)
        if (milo.stats().sent > sent) {
          longest = Math.max(longest, now - sentAt)
          sent = milo.stats().sent
          sentAt = now
        }
        if (n > 800 && sent > 600) process.kill(process.pid, 'SIGTERM')
      }, 1)
      process.on('SIGTERM', () => process.exit(0))
      process.on('exit', () => {
        const now = performance.now()
        const before = now - 100 - Math.max(longest, now - sentAt)
        process.stdout.write(JSON.stringify({ safe: ended.filter(t => t < before).length, all: n }))
      })`
    const { status, stdout } = await run(body)
    const { safe, all } = JSON.parse(stdout)
    assert.deepEqual([status, safe > 100, all > safe], [0, true, true], stdout)
    // What was written to the socket arrives after the process's end.
    await until('all but the last have come', () => peer.spans.length >= safe)
    const expected = Array.from({ length: peer.spans.length }, (_, i) => `s${i}`)
    assert.deepEqual(
      peer.spans.map(s => s.name),
      expected,
    )
  })
})

describe('beforeExit', () => {
  let peer: ScribePeer
  beforeEach(async () => {
    peer = await ScribePeer.listen()
  })
  afterEach(() => peer.close())

  const LISTENERS: Record<string, string> = {
    'ends a span': `milo.span('last words', () => {})`,
    prints: `console.log('done')`,
    'gives the loop an immediate': `if (n < 3) setImmediate(() => milo.span('x', () => {}))`,
    'gives the loop an immediate after some ticks': `(async () => { await null; await null; if (n < 3) setImmediate(() => {}) })()`,
    'gives the loop a timer': `if (n < 3) setTimeout(() => {}, 1)`,
    'gives the loop a timer after a tick': `(async () => { await null; if (n < 3) setTimeout(() => milo.span('x', () => {}), 1) })()`,
    'asks for a file': `if (n < 3) require('fs').stat('.', () => milo.span('x', () => {}))`,
    'asks for random bytes': `if (n < 3) require('crypto').randomBytes(8, () => milo.span('x', () => {}))`,
    'asks for a digest': `if (n < 3) crypto.subtle.digest('SHA-1', new Uint8Array(8)).then(() => milo.span('x', () => {}))`,
    'asks a name server that isn’t there': `if (n < 2) {
      const resolver = new (require('dns').Resolver)({ timeout: 20, tries: 1 }); resolver.setServers(['127.0.0.1:1']); resolver.resolve4('x.invalid', () => milo.span('x', () => {}))
    }`,
    'has a server for a moment': `if (n < 3) { const s = require('net').createServer().listen(0, () => s.close()) }`,
    'closes a server that doesn’t hold the loop': `if (n === 1) { server = require('net').createServer().listen(0).unref(); setImmediate(() => {}) }
      else server.close()`,
    'closes a socket after some ticks': `if (n === 1) { socket = require('dgram').createSocket('udp4').unref(); setImmediate(() => {}) }
      else if (n === 2) (async () => { await null; await new Promise(process.nextTick); socket.close(); milo.span('x', () => {}) })()`,
    'no longer listens to a signal': `if (n === 1) { process.on('SIGUSR2', console.log); setImmediate(() => {}) } else process.off('SIGUSR2', console.log)`,
    'closes a port': `if (n < 3) new MessageChannel().port1.close()`,
    'closes what its callback has made': `if (n < 3) setImmediate(() => require('dgram').createSocket('udp4').close())`,
    'leaves something behind that doesn’t hold the loop': `setTimeout(() => {}, 1).unref(); setImmediate(() => {}).unref(); milo.span('x', () => {})`,
    throws: `if (n === 1) { process.on('uncaughtException', () => {}); throw new Error('mine') }`,
    'sets the status': `process.exitCode = 7; milo.span('x', () => {})`,
    'ends the process': `milo.span('x', () => {}); process.exit(9)`,
  }

  for (const [what, listener] of Object.entries(LISTENERS)) {
    it(`calls listeners exactly as often as without Milo when one ${what}`, async () => {
      const body = `
        const milo = process.env.MILO_SCRIBE ? require('milo') : { span() {} }
        let n = 0, others = 0
        const counts = () => ['beforeExit', 'exit', 'removeListener', 'SIGTERM'].map(name => process.listenerCount(name))
        process.on('beforeExit', () => others++)
        process.prependListener('beforeExit', code => { n++; ${listener} })
        process.on('exit', code => console.log(n, others, code, process.exitCode, ...counts()))
        milo.span('work', () => {})`
      const [without, having] = await Promise.all([
        runNode(['-e', body]),
        runNode(['-r', './dist/register.js', '-e', body], { MILO_SCRIBE: peer.address, MILO_SAMPLER: 'always' }),
      ])
      assert.deepEqual(having, without)
      if (!listener.includes('process.exit(')) assert.ok(peer.spans.some(s => s.name === 'work'))
      if (what !== 'ends a span') return
      const env = { MILO_SCRIBE: '127.0.0.1:1', MILO_SAMPLER: 'always', MILO_LOG_LEVEL: 'silent' }
      assert.deepEqual(await runNode(['-r', './dist/register.js', '-e', body], env), without)
      assert.deepEqual(peer.spans.map(s => s.name).sort(), ['last words', 'work'])
    })
  }

  it('is heard as often as without Milo where a listener disconnects from the parent', async () => {
    const child = `
      let n = 0
      process.on('beforeExit', () => { n++; globalThis.milo?.span('of a child', () => {}); if (process.connected) process.disconnect() })
      process.on('exit', () => console.log(n))`
    const run = (load: string) =>
      runNode(
        [
          '-e',
          `require('node:child_process').spawn(process.execPath, ['-e', ${JSON.stringify(load + child)}], { stdio: ['ignore', 1, 2, 'ipc'] })`,
        ],
        { MILO_SCRIBE: peer.address, MILO_SAMPLER: 'always' },
      )
    const [having, without] = await Promise.all([run(`globalThis.milo = require('milo'); milo.init();`), run('')])
    assert.deepEqual(having, without)
    assert.equal(without.stdout, '2\n')
    assert.deepEqual([...new Set(peer.spans.map(s => s.name))], ['of a child'])
  })

  it('doesn’t keep a process going where the application’s process.emit prints it', async () => {
    const body = `
      const { emit } = process
      process.emit = function (name, ...args) { console.log(name); return emit.call(this, name, ...args) }
      require('milo').span('work', () => {})`
    const run = await runNode(['-r', './dist/register.js', '-e', body], {
      ...{ MILO_SCRIBE: peer.address, MILO_SAMPLER: 'always' },
    })
    // Nothing listens: what Milo holds back is heard by process.emit alone.
    assert.deepEqual([run.status, run.stderr, run.stdout.split('\n').at(-2)], [0, '', 'exit'])
  })

  it('is seen where somebody’s process.emit was there before Milo’s, whatever that calls', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'milo-emit-'))
    for (const theirs of ['emit', 'Object.getPrototypeOf(process).emit']) {
      writeFileSync(
        join(folder, 'before.cjs'),
        `const { emit } = process; process.emit = function (...args) { return ${theirs}.apply(this, args) }`,
      )
      const body = `let n = 0; process.on('beforeExit', () => console.log(++n)); require('milo').span('last', () => {})`
      const args = ['-r', join(folder, 'before.cjs'), '-r', './dist/register.js', '-e', body]
      const peer = await ScribePeer.listen()
      const { stdout, stderr } = await runNode(args, { MILO_SCRIBE: peer.address, MILO_SAMPLER: 'always' })
      await peer.close()
      assert.deepEqual([stdout, stderr, peer.spans.map(span => span.name)], ['1\n', '', ['last']])
    }
    rmSync(folder, { recursive: true })
  })

  it('is passed on when the application emits it itself', async () => {
    const body = `
      const milo = require('milo')
      process.on('beforeExit', code => console.log('heard', code))
      console.log(process.emit('beforeExit', 1), process.emit('beforeExit', 2))
      milo.span('work', () => {})`
    const run = await runNode(['-r', './dist/register.js', '-e', body], {
      ...{ MILO_SCRIBE: peer.address, MILO_SAMPLER: 'always' },
    })
    assert.deepEqual([run.stdout, run.stderr], ['heard 1\nheard 2\ntrue true\nheard 0\n', ''])
  })

  it('takes no further turn of the loop where nothing waits and nobody listens', async () => {
    const body = (work: string) => `
      const types = []
      require('node:async_hooks').createHook({ init: (_id, type) => void types.push(type) }).enable()
      ${work}
      process.on('exit', () => console.log(types.includes('Immediate')))`
    const run = (work: string) =>
      runNode(['-r', './dist/register.js', '-e', body(work)], { MILO_SCRIBE: peer.address, MILO_SAMPLER: 'always' })
    assert.equal((await run('')).stdout, 'false\n')
    assert.equal((await run(`require('milo').span('x', () => {})`)).stdout, 'true\n')
  })

  it('is heard in a worker as often as without Milo', async () => {
    const worker = `
      const { parentPort } = require('node:worker_threads')
      let n = 0
      process.on('beforeExit', () => { n++; globalThis.milo?.span('of a worker', () => {}) })
      process.on('exit', () => parentPort.postMessage(n))`
    const run = (load: string) =>
      runNode(
        [
          '-e',
          `new (require('node:worker_threads').Worker)(${JSON.stringify(load + worker)}, { eval: true }).on('message', console.log)`,
        ],
        {
          ...{ MILO_SCRIBE: peer.address, MILO_SAMPLER: 'always' },
        },
      )
    const [having, without] = await Promise.all([run(`globalThis.milo = require('milo'); milo.init();`), run('')])
    assert.deepEqual(having, without)
    assert.deepEqual(
      peer.spans.map(s => s.name),
      ['of a worker'],
    )
  })

  it('comes without a warning where ten listeners are there, and so does exit', async () => {
    const body = `
      for (const name of ['beforeExit', 'exit', 'SIGTERM']) for (let i = 0; i < 10; i++) process.on(name, () => {})
      require('milo').span('work', () => {})`
    const run = await runNode(['-r', './dist/register.js', '-e', body + '; setImmediate(() => process.exit())'], {
      ...{ MILO_SCRIBE: peer.address, MILO_SAMPLER: 'always' },
    })
    assert.deepEqual([run.status, run.stderr], [0, ''])
  })

  it('is told of what process.exit left, where the level is info', async () => {
    const body = `
      const milo = require('milo')
      process.on('exit', () => milo.span('at exit', () => {}))
      milo.span('work', () => process.exit())`
    const { stderr } = await runNode(['-r', './dist/register.js', '-e', body], {
      ...{ MILO_SCRIBE: peer.address, MILO_SAMPLER: 'always', MILO_LOG_LEVEL: 'info' },
    })
    assert.match(stderr, /^milo info: 1 span could not be sent before the process ended$/m)
  })

  it('spools spans that end in listeners of exit, also when one ends the process at once', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'milo-exit-'))
    try {
      for (const end of ['', 'process.exit(3)']) {
        const body = `
          const milo = require('milo')
          process.on('exit', () => { milo.span('at exit', () => {}); ${end} })
          milo.span('work', () => {})
          process.exit(3)`
        const run = await runNode(['-r', './dist/register.js', '-e', body], {
          ...{ MILO_SCRIBE: peer.address, MILO_SAMPLER: 'always', MILO_SPOOL: folder },
        })
        assert.deepEqual([run.status, run.stderr], [3, ''])
      }
      const spans = readdirSync(folder)
        .filter(name => name.endsWith('.spans'))
        .map(name => Number(name.split('-')[3]))
      assert.deepEqual(spans, [1, 1, 1])
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
