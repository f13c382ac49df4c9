import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createToken } from '../../collector/src/auth/credentials'
import { ROOT, runNode } from '../helpers/child'
import { Program } from '../helpers/programs'
import { ScribePeer } from '../helpers/scribe-peer'
import { until } from '../helpers/until'
import { freePort, freePorts } from '../servers/process'

const DOCTOR = join(ROOT, 'dist/register/doctor.js')
const COLLECTOR = join(ROOT, 'collector/bin/milo-collector.js')
const HELLO = join(ROOT, 'examples/hello-world')

describe('the doctors', () => {
  let folder: string
  let collector: Program
  let scribe: number
  let http: number
  let closed: number
  let config: string
  let token: string

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'milo-doctor-'))
    ;[scribe, http, closed] = (await freePorts(3)) as [number, number, number]
    const made = createToken('doctor', 'read')
    token = made.token
    config = join(folder, 'collector.yaml')
    writeFileSync(
      config,
      `collector_port: [${scribe}]\nhttp:\n  port: ${http}\n  tokens: ['${made.line}']\nembedded:\n  path: ${join(folder, 'milo.db')}\n`,
    )
    collector = new Program(process.execPath, [COLLECTOR, '--config', config])
    await until('the collector is ready', () => {
      collector.mustRun()
      return collector.stderr.includes('"ready"')
    })
  })

  after(async () => {
    await collector.stop()
    rmSync(folder, { recursive: true })
  })

  const toCollector = () => ({
    MILO_SCRIBE: `127.0.0.1:${scribe}`,
    MILO_DOCTOR_COLLECTOR: `http://127.0.0.1:${http}/`,
    MILO_DOCTOR_TOKEN: token,
  })

  it('find nothing wrong with a Thrift client and server whose spans arrive and are found', async () => {
    const server = new Program(process.execPath, ['-r', DOCTOR, join(HELLO, 'server.js'), '0'], toCollector())
    try {
      const [, port] = await server.printed(/listening on (\d+)/)
      const client = await runNode(['-r', DOCTOR, join(HELLO, 'client.js'), 'Ada', port!], toCollector())
      assert.deepEqual([client.status, client.stdout], [0, 'Hello, Ada!\n'], client.stderr)
      const { version } = require('thrift/package.json')
      assert.match(client.stderr, new RegExp(`patched .*thrift ${version.replaceAll('.', '\\.')}`))
      assert.match(
        client.stderr,
        new RegExp(`127\\.0\\.0\\.1:${port} over Thrift: 1 call, 0 failed; the trace travels in: field`),
      )
      assert.match(client.stderr, /2 ended = 2 sent \+ 0 waiting \+ 0 spooled \+ 0 dropped/)
      assert.match(
        client.stderr,
        new RegExp(`http://127\\.0\\.0\\.1:${http}/api/traces/[0-9a-f]{16}: found after \\d+ ms`),
      )
      assert.match(client.stderr, /all is well/)
      await server.stop('SIGTERM')
      assert.equal(server.child.exitCode, 0, server.stderr)
      assert.match(server.stderr, /Thrift: 1 request, 0 failed; 1 continued their caller's trace/)
    } finally {
      await server.stop('SIGKILL')
    }
  })

  it('say that nobody listens where spans go, with exit status 1', async () => {
    const { status, stderr } = await runNode(['-r', DOCTOR, '-e', "require('thrift')"], {
      MILO_SCRIBE: `127.0.0.1:${closed}`,
      MILO_LOG_LEVEL: 'silent',
    })
    assert.equal(status, 1)
    assert.match(stderr, /to do +no span could be sent by scribe: [1-9]\d* connections failed/)
  })

  it('say that spans are answered OK and found nowhere, and that nobody tells which traces to keep', async () => {
    const peer = await ScribePeer.listen()
    try {
      const text = `require('thrift'); require(${JSON.stringify(join(ROOT, 'dist/index.js'))}).span('work', () => {})`
      const { status, stderr } = await runNode(['-r', DOCTOR, '-e', text], {
        ...toCollector(),
        MILO_SCRIBE: `127.0.0.1:${peer.port}`,
        MILO_RETROACTIVE: '1',
        MILO_SAMPLER: 'never',
      })
      assert.equal(status, 1)
      assert.match(stderr, /history +1 span of the last \d+ s; traces: 0 kept, .*; nobody tells what to keep/)
      assert.match(stderr, /nobody where spans go knows which traces to keep after the fact \(MILO_RETROACTIVE\)/)
      assert.match(stderr, /what scribe sent was answered OK and isn't found: not found within 5 s/)
    } finally {
      await peer.close()
    }
  }).timeout(60_000)

  it('keep an application’s own status, and end a server after MILO_DOCTOR_SECONDS', async () => {
    const failing = await runNode(['-r', DOCTOR, '-e', "require('thrift'); process.exit(7)"], toCollector())
    assert.equal(failing.status, 7)
    assert.match(failing.stderr, /found +it isn’t known: the process ended before the answer/)
    assert.match(failing.stderr, /to do +the application ended with status 7/)
    assert.match(failing.stderr, /the process ended before a span could be sent by scribe: let it run for a second/)
    const crashed = await runNode(
      ['-r', DOCTOR, '-e', "require('thrift'); setTimeout(() => { throw new Error('bad') }, 300)"],
      toCollector(),
    )
    assert.equal(crashed.status, 1)
    assert.match(crashed.stderr, /to do +the application ended with status 1/)
    assert.doesNotMatch(crashed.stderr, /all is well/)
    const served = await runNode(['-r', DOCTOR, '-e', "require('node:http').createServer().listen(0)"], {
      ...toCollector(),
      MILO_DOCTOR_SECONDS: '1',
    })
    assert.equal(served.status, 1)
    assert.match(served.stderr, /nothing that Milo traces was loaded or called/)
  })

  it('say with status 2 that spans were sent and nobody could be asked for them', async () => {
    // As OpenTelemetry's Collector: it takes spans, and has no API to find them.
    const endpoint = createServer((req, res) => {
      const isOtlp = req.method === 'POST' && req.url === '/v1/traces'
      res.writeHead(isOtlp ? 200 : 404, isOtlp ? { 'content-type': 'application/x-protobuf' } : {}).end()
    })
    const port = await freePort()
    await once(endpoint.listen(port, '127.0.0.1'), 'listening')
    const env = { MILO_EXPORT: `otlp:http://127.0.0.1:${port}` }
    const { status, stderr } = await runNode(['-r', DOCTOR, '-e', "require('thrift')"], env)
    endpoint.close()
    assert.equal(status, 2, stderr)
    assert.match(stderr, /answers 404, which isn't a collector's answer/)
    assert.match(stderr, /not known +sent by otlp; whether it is found isn’t known\n/)
    const unasked = { MILO_SCRIBE: `127.0.0.1:${scribe}`, MILO_DOCTOR_COLLECTOR: `http://127.0.0.1:${closed}` }
    const refused = await runNode(['-r', DOCTOR, '-e', "require('thrift')"], unasked)
    assert.equal(refused.status, 2, refused.stderr)
    assert.match(refused.stderr, /can't be asked .*ECONNREFUSED[\s\S]*not known +sent by scribe/)
  })

  /** Answers all requests with 200 and `{}`, and keeps their headers by their paths. */
  async function blackHole(type = 'application/x-protobuf') {
    const requests = new Map<string, IncomingHttpHeaders>()
    const server = createServer((req, res) => {
      requests.set(req.url!.replace(/traces\/[0-9a-f]+$/, 'traces/ID'), req.headers)
      res.setHeader('content-type', type).end('{}')
    })
    const port = await freePort()
    await once(server.listen(port, '127.0.0.1'), 'listening')
    return { requests, server, url: `http://127.0.0.1:${port}` }
  }

  it('ask each exporter’s own collector, and don’t take one’s copy for the other’s', async () => {
    const hole = await blackHole()
    try {
      const env = { ...toCollector(), MILO_EXPORT: `scribe,otlp:${hole.url}`, MILO_LOG_LEVEL: 'silent' }
      const given = env.MILO_DOCTOR_COLLECTOR
      const run = (more: object) => runNode(['-r', DOCTOR, '-e', "require('thrift')"], { ...env, ...more })
      const named = await run({ MILO_DOCTOR_COLLECTOR: `scribe:${given}` })
      assert.equal(named.status, 2, named.stderr)
      assert.match(named.stderr, /found +scribe: http.* found after \d+ ms\n +otlp: http.*isn't a collector's answer/)
      assert.match(named.stderr, /not known +sent by otlp;/)
      assert.equal(hole.requests.get('/api/traces/ID')?.authorization, undefined, 'the token is scribe’s')
      const unnamed = await run({ MILO_DOCTOR_TOKEN: `scribe:${token}` })
      assert.equal(unnamed.status, 1, unnamed.stderr)
      assert.match(
        unnamed.stderr,
        /to do +MILO_DOCTOR_COLLECTOR must say which exporter it is for, as in scribe:…: there are scribe, otlp\n/,
      )
      assert.doesNotMatch(unnamed.stderr, /found after/)
      const misspelled = await Promise.all([
        run({ MILO_DOCTOR_COLLECTOR: `scirbe:${given}` }),
        run({ MILO_DOCTOR_COLLECTOR: `scribe:${given},oltp:${hole.url}` }),
        run({ MILO_DOCTOR_COLLECTOR: `scribe:${given}`, MILO_DOCTOR_TOKEN: `scribe:${token},oltp:SECRET` }),
      ])
      const there = 'there are scribe, otlp\n'
      for (const [i, problem] of [
        `COLLECTOR names the exporter 'scirbe'; ${there}`,
        `COLLECTOR names the exporter 'oltp'; ${there}`,
        `TOKEN has a comma that no exporter's name follows; ${there}`,
      ].entries())
        assert.ok(misspelled[i]!.stderr.includes(`MILO_DOCTOR_${problem}`), misspelled[i]!.stderr)
      assert.doesNotMatch(misspelled[2]!.stderr, /SECRET/)
      await run({ MILO_DOCTOR_COLLECTOR: 'localhost:1', MILO_DOCTOR_TOKEN: `otlp:${token}` })
      assert.equal(hole.requests.get('/api/traces/ID')?.authorization, undefined, 'its place is not known')
    } finally {
      hole.server.close()
    }
  })

  it('ask Jaeger again while it doesn’t have the trace yet', async () => {
    // Jaeger can't be made to be late: these are its words.
    const words = '{"data":null,"errors":[{"code":404,"msg":"trace not found"}]}'
    let asked = 0
    const jaeger = createServer((req, res) => {
      const id = /[0-9a-f]+$/.exec(req.url!)![0]
      if (asked++ === 0) res.writeHead(404).end(words)
      else res.end(JSON.stringify({ data: [{ traceID: id }] }))
    })
    const [port, hole] = [await freePort(), await blackHole('application/json')]
    await once(jaeger.listen(port, '127.0.0.1'), 'listening')
    const env = { MILO_EXPORT: `zipkin:${hole.url}`, MILO_DOCTOR_COLLECTOR: `http://127.0.0.1:${port}` }
    const { status, stderr } = await runNode(['-r', DOCTOR, '-e', "require('thrift')"], env)
    jaeger.close()
    hole.server.close()
    assert.equal(status, 0, stderr)
    assert.match(stderr, /found +zipkin: http.*\/api\/traces\/[0-9a-f]+: found after/)
  })

  it('send an exporter’s headers and credentials to no other origin, and show none', async () => {
    const [hole, other] = [await blackHole(), await blackHole()]
    try {
      const address = hole.url.replace('//', '//ada:SECRET@')
      const run = (collector: string) =>
        runNode(['-r', DOCTOR, '-e', "require('thrift')"], {
          MILO_EXPORT: `otlp:${address}`,
          MILO_EXPORT_HEADERS: 'api-key=SECRET',
          MILO_DOCTOR_COLLECTOR: collector,
        })
      const { stderr } = await run(`${other.url}/ui/`)
      const { authorization, ...headers } = other.requests.get('/ui/api/traces/ID')!
      assert.deepEqual([authorization, headers['api-key']], [undefined, undefined])
      const own = await run(hole.url.replace('//', '//eve:SECRET@'))
      const asked = hole.requests.get('/api/traces/ID')!
      assert.equal(asked['api-key'], 'SECRET')
      assert.equal(Buffer.from(asked.authorization!.slice(6), 'base64').toString(), 'eve:SECRET')
      assert.doesNotMatch(stderr + own.stderr, /SECRET/)
    } finally {
      hole.server.close()
      other.server.close()
    }
  })

  it('say that no trace can appear under a MILO_SAMPLER that keeps none', async () => {
    const run = (sampler: string, text = "require('thrift')") =>
      runNode(['-r', DOCTOR, '-e', text], { ...toCollector(), MILO_SAMPLER: sampler })
    const spans = `const { span } = require(${JSON.stringify(join(ROOT, 'dist/index.js'))}); span('a', () => {})`
    const runs = await Promise.all([run('never'), run('probability:0'), run('probability:1e-18', spans), run('always')])
    assert.deepEqual(
      runs.map(({ status }) => status),
      [1, 1, 1, 0],
    )
    assert.match(runs[0]!.stderr, /to do +MILO_SAMPLER=never keeps no trace that begins here: leave it out/)
    assert.match(runs[1]!.stderr, /to do +MILO_SAMPLER=probability:0 keeps no trace/)
    assert.match(
      runs[2]!.stderr,
      /sampling +as MILO_SAMPLER says: of the traces that began here 0 were kept and 1 weren't/,
    )
    assert.match(runs[2]!.stderr, /MILO_SAMPLER=probability:1e-18 kept none of 1 trace: leave it out/)
  })

  it('name settings of their own that make no sense', async () => {
    const env = { MILO_SCRIBE: `127.0.0.1:${scribe}`, MILO_DOCTOR_SECONDS: 'abc', MILO_DOCTOR_COLLECTOR: 'localhost:1' }
    const { status, stderr } = await runNode(['-r', DOCTOR, '-e', "require('thrift')"], env)
    assert.equal(status, 1)
    assert.match(stderr, /^milo error: MILO_DOCTOR_SECONDS must be a number of seconds from 0 to \d+, got 'abc'/m)
    assert.match(stderr, / {4}MILO_DOCTOR_COLLECTOR must be the address of a web interface/)
  })

  it('take a server that answers everything for no endpoint', async () => {
    const anything = createServer((_req, res) =>
      res.setHeader('content-type', 'text/html').end('<title>Welcome</title>'),
    )
    const port = await freePort()
    await once(anything.listen(port, '127.0.0.1'), 'listening')
    for (const kind of ['otlp', 'zipkin']) {
      const env = { MILO_EXPORT: `${kind}:http://127.0.0.1:${port}` }
      const { status, stderr } = await runNode(['-r', DOCTOR, '-e', "require('thrift')"], env)
      assert.equal(status, 1, stderr)
      assert.match(stderr, /to do .*answers, but not as an? (OTLP endpoint|Zipkin server) or a Milo collector does/)
    }
    anything.close()
  })

  it('name what is left to ThriftInstrumentation, or switched off', async () => {
    const text = "require('thrift')"
    const off = await runNode(['-r', DOCTOR, '-e', text], { ...toCollector(), MILO_PLUGINS: '-thrift' })
    assert.match(off.stderr, /left out +thrift is switched off \(MILO_PLUGINS\)/)
    assert.match(off.stderr, /nothing that Milo traces was loaded or called, and thrift is switched off/)
    const register = join(ROOT, 'dist/otel-instrumentation/register.js')
    const left = await runNode(['-r', register, '-r', DOCTOR, '-e', text], toCollector())
    assert.match(left.stderr, /left out +thrift is left to ThriftInstrumentation in /)
    assert.match(left.stderr, /called, and thrift is left to ThriftInstrumentation in .* whose spans don't come here/)
  })

  it('look at a collector from its own side', async () => {
    const run = (env = {}) => runNode([COLLECTOR, 'doctor', '--config', config], env)
    const well = await run({ MILO_DOCTOR_TOKEN: token })
    assert.equal(well.status, 0, well.stderr)
    assert.match(well.stdout, new RegExp(`Scribe +127\\.0\\.0\\.1:${scribe} answers OK after \\d+ ms`))
    assert.match(well.stdout, /found +by its id after \d+ ms/)
    assert.match(well.stdout, /found +by an annotation after \d+ ms/)
    assert.match(well.stdout, /all is well/)
    const stranger = await run()
    assert.equal(stranger.status, 1)
    assert.match(stranger.stdout, /to do +set MILO_DOCTOR_TOKEN to a token that may read/)
    writeFileSync(join(folder, 'other.yaml'), `collector_port: ${closed}\nhttp:\n  port: ${closed}\n`)
    const absent = await runNode([COLLECTOR, 'doctor', '--config', join(folder, 'other.yaml')])
    assert.equal(absent.status, 1)
    assert.match(absent.stdout, new RegExp(`nothing takes spans at 127\\.0\\.0\\.1:${closed}`))
    assert.match(absent.stdout, new RegExp(`nothing answers at http://127\\.0\\.0\\.1:${closed}`))
  })
})
