import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { loadConfig } from '../collector/src/config'
import { binaryCompat, binaryField } from '../plugins/thrift/dialects/binary'
import { compactField } from '../plugins/thrift/dialects/compact'
import { MessageType, Reader, T } from '../src/codec/binary'
import { encodeRecord, readRecord } from '../src/codec/span'
import { Handle } from '../src/patch/handle'
import * as plugin from '../src/plugin'
import { readSettings } from '../src/start/options'
import { Kind, LiveSpan, Trace } from '../src/trace/span'
import { finished, ROOT, runNode, startNode } from './helpers/child'
import { ScribePeer } from './helpers/scribe-peer'
import { until } from './helpers/until'
import { apt, run, which } from './servers/install'
import { npmPackages } from './servers/npm'
import { freePort } from './servers/process'

const read = (file: string) => readFileSync(join(ROOT, file), 'utf8')

/** The fenced block of a page that begins with these words. */
function block(page: string, words: string): string {
  const text = read(`docs/${page}`)
  const start = text.indexOf(`\`\`\`${words}\n`)
  assert.notEqual(start, -1, `${page} has a block ${words}`)
  return text.slice(start + words.length + 4, text.indexOf('\n```', start) + 1)
}

describe('the documentation', () => {
  let folder: string
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'milo-test-docs-'))
  })
  after(() => rmSync(folder, { recursive: true }))

  it('links to files that are there', () => {
    const names = [
      'README.md',
      'examples/README.md',
      'examples/containers/README.md',
      'examples/grafana/README.md',
      ...readdirSync(join(ROOT, 'docs')).map(name => `docs/${name}`),
    ]
    const pages = names.filter(name => name.endsWith('.md'))
    for (const page of pages) {
      for (const [, target] of read(page).matchAll(/\]\((?!https?:)([^)#]+)/g)) {
        assert.ok(existsSync(join(ROOT, dirname(page), target!)), `${page}: ${target}`)
      }
    }
  })

  describe('getting started', () => {
    it('shows a program that runs, and whose span says what the page says', async () => {
      const scribe = await ScribePeer.listen()
      try {
        const script = join(folder, 'catalogue.js')
        writeFileSync(script, block('getting-started.md', 'js').replace("'milo'", JSON.stringify(ROOT)))
        const { status, stdout, stderr } = await runNode(['-r', 'milo/register', script], {
          MILO_SCRIBE: scribe.address,
        })
        assert.equal(status, 0, stderr)
        assert.equal(stdout, '3\n')
        assert.deepEqual(
          scribe.spans.map(({ name }) => name),
          ['catalogue.import'],
        )
        const [span] = scribe.spans
        assert.deepEqual(Object.fromEntries(span!.annotations!), { supplier: 'acme' })
        assert.deepEqual(Object.fromEntries(span!.counters!), { added: 2n, changed: 1n })
        assert.deepEqual(
          span!.events!.map(({ value }) => value),
          ['milo.start', 'downloaded', 'milo.end'],
        )
      } finally {
        await scribe.close()
      }
    })
  })

  describe('getting started: a Thrift service from nothing', function () {
    this.timeout(300_000)
    const page = 'getting-started.md'
    let installed: string
    before(async () => {
      if (which('thrift') === undefined) await apt(['thrift-compiler'], 'put the compiler of Apache Thrift on the PATH')
      installed = await npmPackages('thrift@0.24.0', '@types/thrift@0.10.17', '@types/node@20.19.43')
    })

    /** A folder with the page's files and what the page installs. @param generate its command of the compiler */
    async function greeter(generate: string, names: string[], port: number): Promise<string> {
      const home = mkdtempSync(join(folder, 'greeter-'))
      mkdirSync(join(home, 'node_modules'))
      for (const name of readdirSync(join(installed, 'node_modules'))) {
        symlinkSync(join(installed, 'node_modules', name), join(home, 'node_modules', name))
      }
      symlinkSync(ROOT, join(home, 'node_modules/milo'))
      writeFileSync(join(home, 'package.json'), '{"name":"greeter"}')
      writeFileSync(join(home, 'greeter.thrift'), block(page, 'thrift greeter.thrift'))
      assert.ok(read(`docs/${page}`).includes(generate))
      await run(which('thrift')!, generate.split(' ').slice(1), { cwd: home })
      for (const name of names) {
        const code = block(page, `${name.split('.')[1]!.replace(/^mjs$/, 'js')} ${name}`)
        assert.ok(code.includes('9090'))
        writeFileSync(join(home, name), code.replace('9090', String(port)))
      }
      return home
    }

    async function calls(home: string, flag: string, port: number, [server, client]: readonly [string, string]) {
      const scribe = await ScribePeer.listen()
      const env = { MILO_SCRIBE: scribe.address }
      const serving = startNode([flag, 'milo/register', server], { ...env, MILO_SERVICE: 'greeter' }, home)
      const ended = finished(serving, 60_000)
      try {
        let printed = ''
        for (const stream of [serving.stdout!, serving.stderr!]) {
          stream.on('data', data => {
            printed += data
          })
        }
        await until(`${server} listens on ${port}`, () => printed !== '', 20_000)
        assert.equal(printed, 'listening\n')
        const visitor = await runNode([flag, 'milo/register', client], { ...env, MILO_SERVICE: 'visitor' }, home)
        assert.deepEqual([visitor.stdout, visitor.stderr, visitor.status], ['Hello, ada!\n', '', 0])
        await until('both halves have come', () => scribe.spans.length === 2)
        assert.deepEqual(scribe.spans.map(({ name, service }) => [name, service]).sort(), [
          ['Greeter.greet', 'greeter'],
          ['Greeter.greet', 'visitor'],
        ])
        const [one, other] = scribe.spans
        assert.deepEqual([one!.traceId, one!.id], [other!.traceId, other!.id])
      } finally {
        serving.kill()
        await ended
        await scribe.close()
      }
    }

    const js = 'thrift --gen js:node,es6 greeter.thrift'
    it('shows one in CommonJS', async () => {
      const port = await freePort()
      await calls(await greeter(js, ['server.js', 'client.js'], port), '-r', port, ['server.js', 'client.js'])
    })

    it('shows one in ES modules', async () => {
      const port = await freePort()
      await calls(await greeter(js, ['server.mjs', 'client.mjs'], port), '--import', port, ['server.mjs', 'client.mjs'])
    })

    it('shows one in TypeScript, whose types are right', async () => {
      const port = await freePort()
      const home = await greeter('thrift --gen js:node,es6,ts greeter.thrift', ['server.ts', 'client.ts'], port)
      const [, options] = /npx tsc ([^`]*)`/.exec(read(`docs/${page}`))!
      const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
      await run(process.execPath, [tsc, ...options!.split(' ')], { cwd: home })
      await calls(home, '-r', port, ['server.js', 'client.js'])
    })
  })

  describe('the API', () => {
    async function example(words: string) {
      const scribe = await ScribePeer.listen()
      try {
        const script = join(folder, 'example.js')
        writeFileSync(
          script,
          block('api.md', words).replace(/'milo(\/\w+)?'/g, (_, entry = '/index') =>
            JSON.stringify(join(ROOT, `dist${entry}`)),
          ),
        )
        const env = { MILO_SCRIBE: scribe.address, MILO_SAMPLER: 'always' }
        const { status, stdout, stderr } = await runNode(['-r', 'milo/register', script], env)
        assert.deepEqual([status, stderr], [0, ''])
        return { stdout, spans: scribe.spans }
      } finally {
        await scribe.close()
      }
    }

    it('shows spans of every kind', async () => {
      const { stdout, spans } = await example('js spans')
      assert.deepEqual(stdout.trim().split('\n').sort(), ['42', 'ENOENT undefined'])
      assert.deepEqual(
        new Map(spans.map(({ name, annotations }) => [name, annotations && Object.fromEntries(annotations)])),
        new Map<string, any>([
          ['parse', undefined],
          ['import', { supplier: 'acme' }],
          ['double', undefined],
          [
            'read',
            {
              'error.type': 'Error',
              'error.message': "ENOENT: no such file or directory, open '/does/not/exist'",
            },
          ],
          ['waiting', { reason: 'lock' }],
        ]),
      )
    })

    it('shows a test with milo/testing', async () => {
      assert.deepEqual(await example('js testing'), { stdout: 'ann\n', spans: [] })
    })

    it('shows a subscriber', async () => {
      assert.equal((await example('js diagnostics')).stdout, 'work true\n')
    })
  })

  describe('milo/cls', () => {
    it('shows a namespace that survives a timer', async () => {
      const script = join(folder, 'cls.js')
      writeFileSync(script, block('cls.md', 'js').replace("'milo/cls'", JSON.stringify(join(ROOT, 'dist/cls.js'))))
      const result = await runNode([script])
      assert.deepEqual([result.stdout, result.stderr], ['ann\n', ''])
    })
  })

  describe('OpenTelemetry', () => {
    it('shows spans of both APIs in one trace, each the current one of the other', async () => {
      const scribe = await ScribePeer.listen()
      try {
        const script = join(folder, 'inside.js')
        const built = (entry: string) => JSON.stringify(join(ROOT, `dist${entry}`))
        writeFileSync(
          script,
          block('opentelemetry.md', 'js inside')
            .replace(/'milo(\/\w+)?'/g, (_, entry = '/index') => built(entry))
            .replace("'@opentelemetry/api'", JSON.stringify(join(ROOT, 'node_modules/@opentelemetry/api'))),
        )
        const env = { MILO_SCRIBE: scribe.address, MILO_SAMPLER: 'always' }
        const result = await runNode(['-r', 'milo/register', script], env)
        assert.deepEqual([result.stdout, result.stderr], ['true\n', ''])
        const ids = new Map(scribe.spans.map(span => [span.name, span]))
        assert.equal(ids.get('stock')?.parentId, ids.get('reserve')?.id)
        assert.equal(ids.get('reserve')?.parentId, ids.get('checkout')?.id)
        assert.equal(ids.get('reserve')?.annotations?.get('items'), '3')
      } finally {
        await scribe.close()
      }
    })
  })

  describe('writing a plugin', () => {
    /** Runs the page's plugin around a package `greeter`; prints what the application has seen. */
    async function withPlugin(app: string, more: string[] = []) {
      const scribe = await ScribePeer.listen()
      try {
        const run = await runNode(
          [...more, '-r', './greeter.js', '-e', app],
          { MILO_SCRIBE: scribe.address, MILO_SAMPLER: 'always' },
          folder,
        )
        const spans = scribe.spans.map(({ annotations }) => Object.fromEntries(annotations!))
        assert.ok(scribe.spans.every(({ name }) => name === 'greeter.greet'))
        return { ...run, spans }
      } finally {
        await scribe.close()
      }
    }

    before(() => {
      const greeter = join(folder, 'node_modules', 'greeter')
      mkdirSync(greeter, { recursive: true })
      symlinkSync(ROOT, join(folder, 'node_modules', 'milo'))
      writeFileSync(join(greeter, 'package.json'), '{"name":"greeter","version":"1.2.3"}')
      writeFileSync(
        join(greeter, 'index.js'),
        'exports.greet = function greet(host, work) { return work.call(this, host) }',
      )
      writeFileSync(join(folder, 'greeter.js'), block('writing-a-plugin.md', 'js'))
      writeFileSync(
        join(folder, 'break.js'),
        `const file = require.resolve('milo/plugin'), plugin = require(file)
         require.cache[file].exports = { ...plugin, startSpan() { throw new Error('of the plugin') } }`,
      )
    })

    it('shows a plugin that gives back what it was given, whatever that is, and ends its span with it', async () => {
      const { status, stdout, stderr, spans } = await withPlugin(`
        const { greet } = require('greeter'), failed = Promise.reject(new RangeError('no')), value = {}
        failed.catch(() => {})
        const promise = Promise.resolve(1), error = new TypeError('no')
        let started = 0
        const lazy = { then(ok) { started++; ok(3) } }
        const thrown = () => { try { greet('throws', () => { throw error }) } catch (error) { return error } }
        console.log([
          greet.length, greet.name,
          greet.call(value, 'this', function () { return this }) === value,
          greet('promise', () => promise) === promise, greet('fails', () => failed) === failed,
          greet('nothing', () => {}) === undefined, thrown() === error,
          greet('lazy', () => lazy) === lazy, started,
          greet('hostile', () => ({ get then() { throw new Error('mine') } })) !== undefined,
        ].join())
        greet('awaited', () => ({ then(ok) { ok(4) } })).then(console.log)`)
      assert.deepEqual([status, stderr], [0, ''])
      assert.equal(stdout, '2,greet,true,true,true,true,true,true,0,true\n4\n')
      assert.deepEqual(
        new Map(spans.map(({ 'server.address': host, 'error.type': error }) => [host, error])),
        new Map([
          ['this', undefined],
          ['nothing', undefined],
          ['throws', 'TypeError'],
          ['hostile', undefined],
          ['awaited', undefined],
          ['promise', undefined],
          ['fails', 'RangeError'],
        ]),
      )
    })

    it('shows a plugin that lets none of its own errors out, and is off after one', async () => {
      const app = `const { greet } = require('greeter'); for (let i = 0; i < 2; i++) console.log(greet('ada', () => 42))`
      const { status, stdout, stderr, spans } = await withPlugin(app, ['-r', './break.js'])
      assert.deepEqual([status, stdout, spans], [0, '42\n42\n', []])
      assert.equal(
        stderr.match(/the plugin greeter failed and is off for this process: Error: of the plugin/g)?.length,
        1,
      )
    })

    it('names everything that milo/plugin and a plugin’s handle offer', () => {
      const page = read('docs/writing-a-plugin.md')
      const names = [...Object.keys(plugin), ...Object.getOwnPropertyNames(Handle.prototype)]
      const own = ['constructor', 'apply', 'look', 'keep', 'takeBack', 'hasPatched', 'suspend']
      assert.deepEqual(
        names.filter(name => !own.includes(name) && !new RegExp(`\\W${name}\\W`).test(page)),
        [],
      )
    })

    it('shows a plugin that does nothing where Milo is off', async () => {
      const app = `require('milo').shutdown().then(() => console.log(require('greeter').greet('ada', () => 42)))`
      const { stdout, stderr, spans } = await withPlugin(app, ['-r', './break.js'])
      assert.deepEqual([stdout, stderr, spans], ['42\n', '', []])
    })
  })

  describe('configuration', () => {
    const page = read('docs/configuration.md')

    it("shows the collector's defaults, all of them", () => {
      const file = join(folder, 'collector.yaml')
      writeFileSync(file, block('configuration.md', 'yaml'))
      const { config, notices } = loadConfig(file, {})
      assert.deepEqual(notices, [])
      assert.deepEqual({ ...config, collectorPortGiven: false }, loadConfig(undefined, {}).config)
    })

    it("shows the collector's variables as they are read", () => {
      const shown = [...page.matchAll(/(MILO_COLLECTOR_[A-Z_]+)=([^\s…]*)/g)].map(([, name, value]) => [name, value])
      assert.ok(shown.length >= 4)
      for (const [name, value] of shown) loadConfig(undefined, { [name!]: value })
    })

    it("names every option, variable and error code of the SDK's, and no other", () => {
      const rows = [...page.matchAll(/^\| (?:`(MILO_\w+)` )?\| (?:`(\w+)` )?\|/gm)]
      const named = (column: number) => rows.flatMap(row => row[column] ?? []).sort()
      const source = read('src/start/options.ts')
      assert.deepEqual(named(1), [...new Set([...source.matchAll(/env\.(MILO_\w+)/g)].map(m => m[1]!))].sort())
      let options: string[] = []
      try {
        readSettings({ nonsense: 1 } as object, {})
      } catch (error) {
        options = / there are (.*)$/.exec((error as Error).message)![1]!.split(', ')
      }
      assert.deepEqual(named(2), options.sort())
      const codes = (text: string) => [...new Set(text.match(/MILO_BAD_\w+/g))].sort()
      assert.deepEqual(codes(page), codes(read('src/errors.ts')))
    })
  })

  describe('architecture', () => {
    it('names files and folders that are there', () => {
      const page = read('docs/architecture.md')
      const rooms =
        'api|auth|cls|commands|formats|plugins|process|query|receive|record|relay|shell|src|store|test|trace|collector'
      const named = [...page.matchAll(new RegExp(`(?<![\\w/.])(?:${rooms})/[\\w./-]*\\w`, 'g'))].map(([path]) => path)
      assert.ok(named.length > 40)
      const below = ['', 'collector/src/', 'collector/ui/', 'src/']
      assert.deepEqual(
        named.filter(path => !below.some(folder => existsSync(join(ROOT, folder, path)))),
        [],
      )
    })
  })

  describe('the wire format', () => {
    const hex = (name: string) =>
      Buffer.from(
        block('wire-format.md', `hex ${name}`)
          .split('\n')
          // Bytes are pairs of digits from the left; the first word of another length begins the explanation.
          .flatMap(line => /^\s*((?:[0-9a-f]{2}\s+)*(?:[0-9a-f]{2}$)?)/.exec(line)![1]!.match(/[0-9a-f]{2}/g) ?? [])
          .join('')
          .replace(/\s/g, ''),
        'hex',
      )
    const span = new LiveSpan(
      { add() {}, truncated() {} },
      new Trace(0x11223344, 0x55667788, 0, 0, true, false, Math.fround(0.1), 0),
      0x01020304,
      0x05060708,
      0,
      0x2a,
      Kind.CLIENT,
      'HelloWorld.ping',
      0,
    )

    it('shows a record that the codec writes just so', () => {
      const bytes = hex('record')
      const { record, end } = readRecord(bytes, 0)
      assert.equal(end, 176)
      assert.equal(bytes.length, 176)
      assert.equal(record.name, 'HelloWorld.ping')
      assert.equal(record.service, 'front')
      assert.equal(record.events!.length, 2)
      assert.deepEqual(encodeRecord(record), bytes)
    })

    it("shows Milo's field as the Thrift plugin writes it", () => {
      assert.equal(hex('binary').toString('hex'), binaryField(span).toString('hex'))
      assert.equal(hex('compact').toString('hex'), compactField(span).toString('hex'))
    })

    it('shows field 8888 as the Thrift plugin writes it', () => {
      assert.equal(hex('compat').toString('hex'), binaryCompat(span).toString('hex'))
    })

    it('shows a CALLTRACE message', () => {
      const reader = new Reader(hex('calltrace'))
      assert.deepEqual(reader.messageBegin(), { strict: true, type: MessageType.CALLTRACE, name: 'ping', seqid: 0 })
      assert.deepEqual([reader.i64(), reader.i64(), reader.i64()], [0x1122334455667788n, 0x0102030405060708n, 0x2an])
      assert.equal(reader.byte(), T.STRING)
      assert.equal(reader.i16(), 1)
      assert.equal(reader.string(), 'ada')
      assert.equal(reader.byte(), T.STOP)
      assert.equal(reader.pos, reader.end)
    })
  })
})
