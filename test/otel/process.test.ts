import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { ROOT, runNode } from '../helpers/child'
import { ScribePeer } from '../helpers/scribe-peer'
import { instrumented } from '../servers/opentelemetry'

/** Programs that load milo/otel as their users do, with one copy of OpenTelemetry's API or several. */
describe('a program with milo/otel', () => {
  let folder: string
  let scribe: ScribePeer
  const api = { '1.3.0': '', '1.9.1': '', '1.10.0': join(ROOT, 'node_modules/@opentelemetry/api') }

  before(async function () {
    this.timeout(240_000)
    folder = mkdtempSync(join(tmpdir(), 'milo-test-otel-'))
    const [oldest, all] = await Promise.all([instrumented('oldest'), instrumented('all')])
    api['1.3.0'] = join(oldest, 'node_modules/@opentelemetry/api')
    api['1.9.1'] = join(all, 'node_modules/@opentelemetry/api')
    link('1.10.0/node_modules/@opentelemetry/api', api['1.10.0'])
    link('1.3.0/node_modules/@opentelemetry/api', api['1.3.0'])
    for (const version of ['1.10.0', '1.3.0'] as const) {
      link(`${version}/node_modules/milo`, ROOT)
      // A library that has another copy of the API than the application.
      const other = version === '1.3.0' ? '1.10.0' : '1.3.0'
      link(`${version}/node_modules/library/node_modules/@opentelemetry/api`, api[other])
      write(
        `${version}/node_modules/library/index.js`,
        `exports.work = () => require('@opentelemetry/api').trace.getTracer('library').startActiveSpan('library', span => span.end())`,
      )
    }
    scribe = await ScribePeer.listen()
  })

  after(async () => {
    await scribe.close()
    rmSync(folder, { recursive: true })
  })

  function link(path: string, target: string): void {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    symlinkSync(target, join(folder, path))
  }

  function write(path: string, text: string): void {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), text)
  }

  /** @returns what it printed, and the names of its spans, below their parents' */
  async function run(version: '1.10.0' | '1.3.0', app: string, text: string, args: string[] = [], env = {}) {
    write(`${version}/${app}`, text)
    scribe.spans.length = 0
    const given = { MILO_SCRIBE: scribe.address, MILO_SAMPLER: 'always', ...env }
    // By its full path, as npm's scripts and pm2 start it: the API is found from there, and not from the current folder.
    const result = await runNode([...args, join(folder, version, app)], given, join(folder, version))
    const names = new Map(scribe.spans.map(span => [span.id, span.name]))
    const spans = scribe.spans
      .map(({ name, parentId }) => [names.get(parentId), name].filter(Boolean).join(' > '))
      .sort()
    return { stdout: result.stdout, stderr: result.stderr, spans }
  }

  const CJS = `
    const { trace } = require('@opentelemetry/api')
    const milo = require('milo')
    trace.getTracer('app').startActiveSpan('app', span => {
      milo.span('milo', () => require('library').work())
      span.end()
    })`
  const ESM = `
    import { trace } from '@opentelemetry/api'
    import milo from 'milo'
    import { register } from 'milo/otel'
    trace.getTracer('app').startActiveSpan('app', span => {
      milo.span('milo', () => console.log(register()))
      span.end()
    })`

  it('starts by -r, and hears libraries with an older copy of the API', async () => {
    const { stdout, stderr, spans } = await run('1.10.0', 'a.cjs', CJS, ['-r', 'milo/otel/register'])
    assert.deepEqual([stdout, stderr], ['', ''])
    assert.deepEqual(spans, ['app', 'app > milo', 'milo > library'])
  })

  it('starts by --import, for ES modules, which have a copy of the API of their own', async () => {
    const { stdout, stderr, spans } = await run('1.10.0', 'b.mjs', ESM, ['--import', 'milo/otel/register'])
    assert.deepEqual([stdout, stderr], ['true\n', ''])
    assert.deepEqual(spans, ['app', 'app > milo'])
  })

  it('says that a newer copy of the API than the application’s isn’t heard', async () => {
    const { stderr, spans } = await run('1.3.0', 'c.cjs', CJS, ['-r', 'milo/otel/register'])
    assert.match(stderr, /^milo warn: the copy of @opentelemetry\/api in \S+ is newer than the one [^\n]*\n$/)
    assert.deepEqual(spans, ['app', 'app > milo'])
  })

  it('leaves an SDK that was there before, and says so', async () => {
    const sdk = JSON.stringify(join(dirname(api['1.9.1']), 'sdk-trace-node'))
    const { stdout, stderr, spans } = await run(
      '1.3.0',
      'd.cjs',
      `
      const { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } = require(${sdk})
      const exporter = new InMemorySpanExporter()
      new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register()
      console.log(require('milo/otel').register(), require('milo/otel').register())
      const { trace } = require(${JSON.stringify(api['1.9.1'])})
      require('milo').span('milo', () => trace.getTracer('app').startSpan('app').end())
      console.log(exporter.getFinishedSpans().map(span => span.name + ' ' + span.parentSpanContext).join())`,
      ['-r', 'milo/register'],
    )
    assert.equal(stdout, 'false false\napp undefined\n')
    assert.match(stderr, /^milo warn: OpenTelemetry's API has a provider already \(NodeTracerProvider\)[^\n]*\n$/)
    assert.deepEqual(spans, ['milo'])
  })

  it('does nothing with MILO_ENABLED=0', async () => {
    const { stdout, stderr, spans } = await run('1.10.0', 'e.mjs', ESM, ['--import', 'milo/otel/register'], {
      MILO_ENABLED: '0',
    })
    assert.deepEqual([stdout, stderr, spans], ['false\n', '', []])
  })
})
