import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import ts from 'typescript'
import { ROOT, runNode } from '../helpers/child'
import { ScribePeer } from '../helpers/scribe-peer'

/** An empty folder in which npm has installed the packed package, with its dependencies. */
describe('the package', () => {
  let folder: string
  let tarball: string
  let files: string[]

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'milo-pack-'))
    ;({ tarball, files } = pack('', folder))
    const options = ['--prefer-offline', '--no-audit', '--no-fund', '--no-package-lock']
    execFileSync('npm', ['install', '--prefix', folder, ...options, tarball], { cwd: folder, stdio: 'pipe' })
  })

  after(() => rmSync(folder, { recursive: true }))

  const run = async (name: string, text: string, args: string[] = [], env: Record<string, string> = {}) => {
    writeFileSync(join(folder, name), text)
    const result = await runNode([...args, join(folder, name)], env)
    assert.equal(result.stderr, '')
    return result.stdout.trim()
  }

  it('holds what it exports, the IDL and nothing of the tests', () => {
    const { exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
    const plugins = readdirSync(join(ROOT, 'plugins'))
      .filter(name => name.endsWith('.ts') || existsSync(join(ROOT, 'plugins', name, 'index.ts')))
      .map(name => name.replace('.ts', ''))
    for (const entry of Object.values<any>(exports)) {
      if (typeof entry === 'string') continue
      for (const path of Object.values<any>(entry).flatMap(condition => Object.values<string>(condition))) {
        for (const name of path.includes('*') ? plugins : ['']) {
          const file = path.slice(2).replace('*', name)
          assert.ok(files.includes(file), `${file} isn't in the package`)
        }
      }
    }
    assert.ok(files.includes('src/idl/milo.thrift') && files.includes('LICENSE') && files.includes('README.md'))
    assert.deepEqual(
      files.filter(f => /^(test|collector|examples|docs)\/|\.map$/.test(f)),
      [],
    )
  })

  it('reads two files at a start, and loads next to nothing of Node’s modules', async () => {
    const text = `
      const { builtinModules } = require('node:module')
      process.on('exit', () => {
        const modules = process.moduleLoadList.map(name => name.replace('NativeModule ', '')).filter(name => builtinModules.includes(name))
        console.log(JSON.stringify({ modules, files: Object.keys(require.cache) }))
      })`
    const bare = JSON.parse(await run('start.cjs', text))
    const { modules, files } = JSON.parse(
      await run('start.cjs', text, ['-r', join(folder, 'node_modules/milo/dist/register.js')]),
    )
    const own: string[] = files.filter((file: string) => !bare.files.includes(file))
    assert.deepEqual(own.map(file => file.slice(file.lastIndexOf('node_modules') + 13)).sort(), [
      'milo/dist/bundle.js',
      'milo/dist/register.js',
    ])
    // To read and compile a kB takes 27 µs: what a start doesn't need belongs into a file of its own (LATE in tsup.config.ts).
    const bytes = own.reduce((sum, file) => sum + statSync(file).size, 0)
    assert.ok(bytes <= 158_000, `${bytes} bytes`)
    // src/patch/builtins.ts: the probe. http and net are patched when the application loads them.
    const added = modules.filter((name: string) => !bare.modules.includes(name))
    assert.deepEqual(
      added.filter((name: string) => !['diagnostics_channel', 'path/posix', 'util/types'].includes(name)),
      [],
    )
  })

  it('has no line that would fill the screen when Node prints it for an error that passes through', () => {
    const code = readFileSync(join(folder, 'node_modules/milo/dist/bundle.js'), 'utf8')
    assert.ok(Math.max(...code.split('\n').map(line => line.length)) < 1000)
  })

  it('is one copy of its state, whether required or imported', async () => {
    const text = `
      import { createRequire } from 'node:module'
      import assert from 'node:assert'
      const require = createRequire(import.meta.url)
      import milo, { init, span, stats, current } from 'milo'
      import { startSpan, currentSpan, Kind } from 'milo/plugin'
      import { createNamespace, getNamespace } from 'milo/cls'
      import { thrift } from 'milo/plugins/thrift'
      import { http } from 'milo/plugins/http'
      import { pino } from 'milo/plugins/pino'
      import { winston } from 'milo/plugins/winston'
      import { start, stop } from 'milo/testing'
      const required = require('milo')
      assert.equal(required.span, span); assert.equal(milo.span, span)
      assert.equal(require('milo/plugins/thrift').thrift, thrift); assert.equal(require('milo/plugins/http').http, http)
      required.init({ sampler: 'always', scribe: '127.0.0.1:1', logLevel: 'silent', exitTimeoutMs: 0 })
      span('x', s => { assert.equal(currentSpan(), s); assert.equal(require('milo/plugin').currentSpan(), s); assert.equal(required.current(), s) })
      assert.equal(stats().ended, 1); assert.equal(required.stats().ended, 1)
      assert.equal(require('milo/plugins/pino').pino, pino); assert.equal(require('milo/plugins/winston').winston, winston)
      const spans = start(); span('y', () => {}); assert.equal(spans[0].name, 'y'); assert.equal(require('milo/testing').tree(), 'y'); stop()
      const ns = createNamespace('n'); assert.equal(require('milo/cls').getNamespace('n'), ns)
      // Late files are in strict mode too.
      assert.equal(ns.bind(function () { return this })(), undefined)
      console.log('one')`
    assert.equal(await run('one.mjs', text), 'one')
  })

  it('has the public functions under both loaders', async () => {
    const names = 'init span wrap annotate record count current ids stats flush shutdown MiloError'.split(' ')
    const list = JSON.stringify(names)
    assert.equal(
      await run('a.cjs', `const m = require('milo'); console.log(${list}.every(n => typeof m[n] === 'function'))`),
      'true',
    )
    assert.equal(
      await run('a.mjs', `import * as m from 'milo'; console.log(${list}.every(n => typeof m[n] === 'function'))`),
      'true',
    )
  })

  for (const [flag, name] of [
    ['-r', 'b.cjs'],
    ['--import', 'b.cjs'],
    ['-r', 'b.mjs'],
    ['--import', 'b.mjs'],
  ] as const) {
    it(`starts by ${flag} milo/register for a ${name.slice(-4)} application, once`, async () => {
      const peer = await ScribePeer.listen()
      const load = name.endsWith('mjs')
        ? `import milo from 'milo'; import 'milo/register';`
        : `const milo = require('milo'); require('milo/register');`
      writeFileSync(join(folder, name), `${load} milo.span('x', s => console.log(s.sampled))`)
      const result = await runNode([flag, 'milo/register', name], { MILO_SCRIBE: peer.address }, folder)
      assert.deepEqual([result.stdout, result.stderr], ['true\n', ''])
      assert.deepEqual(
        peer.spans.map(s => s.name),
        ['x'],
      )
      await peer.close()
    })
  }

  it('says what milo/otel needs where OpenTelemetry’s API isn’t installed', async () => {
    writeFileSync(join(folder, 'otel.cjs'), `console.log(require('milo/otel').register())`)
    const { status, stdout, stderr } = await runNode([join(folder, 'otel.cjs')], {}, folder)
    assert.deepEqual([status, stdout], [0, 'false\n'])
    assert.match(stderr, /^milo warn: milo\/otel doesn't find @opentelemetry\/api[^\n]*\n$/)
  })

  it('says the same of milo/otel-instrumentation/register, and lets the application run', async () => {
    const args = ['-r', 'milo/otel-instrumentation/register', '-e', "console.log('runs')"]
    const { status, stdout, stderr } = await runNode(args, {}, folder)
    assert.deepEqual([status, stdout], [0, 'runs\n'])
    assert.match(
      stderr,
      /^milo error: milo\/otel-instrumentation doesn't find @opentelemetry\/api, .*install it beside milo\n$/,
    )
  })

  it('is what publint and are-the-types-wrong ask for', async () => {
    const plugins = files.flatMap(f => /^dist\/(plugins\/.+)\.mjs$/.exec(f)?.[1] ?? [])
    const { stdout, stderr } = await runNode([join(ROOT, 'test/helpers/check-packed.mjs'), tarball, ...plugins])
    assert.deepEqual([stdout, stderr], ['', ''])
  }).timeout(60_000)

  it('has the types of what its entries export, and of nothing else', async () => {
    const entries = files.flatMap(f =>
      /register(\/doctor)?\.mjs$/.test(f) ? [] : (/^dist\/(.+)\.mjs$/.exec(f)?.[1] ?? []),
    )
    const imports = entries.map(name => `import('${ROOT}/dist/${name}.mjs')`)
    const text = `for (const m of await Promise.all([${imports}])) console.log(Object.keys(m).filter(n => n !== 'default').join())`
    const names = (await run('names.mjs', text)).split('\n')

    const types = entries.map(name => join(folder, `node_modules/milo/dist/${name}.d.ts`))
    const program = ts.createProgram(types, { types: [], noLib: true })
    const checker = program.getTypeChecker()
    const typed = types.map(file =>
      checker
        .getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(file)!)!)
        .filter(symbol => {
          const { flags } = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
          return flags & ts.SymbolFlags.Value
        })
        .map(symbol => symbol.name)
        .sort()
        .join(),
    )
    assert.deepEqual(
      Object.fromEntries(entries.map((name, i) => [name, typed[i]])),
      Object.fromEntries(entries.map((name, i) => [name, names[i]])),
    )
  })

  for (const [file, module, moduleResolution] of [
    ['uses.mts', ts.ModuleKind.Node16, ts.ModuleResolutionKind.Node16],
    ['uses.cts', ts.ModuleKind.Node16, ts.ModuleResolutionKind.Node16],
    ['uses.ts', ts.ModuleKind.ESNext, ts.ModuleResolutionKind.Bundler],
    ['uses.ts', ts.ModuleKind.CommonJS, ts.ModuleResolutionKind.Node10],
  ] as const) {
    const name = ts.ModuleResolutionKind[moduleResolution].toLowerCase()
    it(`has types for ${file} with moduleResolution ${name}, which refuse wrong uses`, () => {
      copyFileSync(join(ROOT, 'test/types/uses.ts'), join(folder, file))
      const program = ts.createProgram([join(folder, file)], {
        strict: true,
        lib: ['lib.es2022.d.ts'],
        exactOptionalPropertyTypes: true,
        noEmit: true,
        module,
        moduleResolution,
        esModuleInterop: true,
        target: ts.ScriptTarget.ES2022,
        types: ['node'],
        typeRoots: [join(ROOT, 'node_modules/@types')],
        // The package's optional peer isn't installed here.
        paths: { '@opentelemetry/api': [join(ROOT, 'node_modules/@opentelemetry/api')] },
      })
      // Of the package's own declarations too, and not of Node's, which takes seconds.
      const ours = program.getSourceFiles().filter(source => source.fileName.startsWith(folder))
      const found = ours.flatMap(source => ts.getPreEmitDiagnostics(program, source))
      assert.equal(
        ts.formatDiagnostics(found, {
          getCanonicalFileName: n => n,
          getCurrentDirectory: () => folder,
          getNewLine: () => '\n',
        }),
        '',
      )
    }).timeout(60_000)
  }

  it('is small: 2 MB with its dependencies, at most 10 packages', () => {
    const size = (path: string): number =>
      statSync(path).isDirectory()
        ? readdirSync(path).reduce((sum, f) => sum + size(join(path, f)), 0)
        : statSync(path).size
    const packages = readdirSync(join(folder, 'node_modules'))
    assert.ok(packages.length <= 10)
    const total = packages.reduce((sum, name) => sum + size(join(folder, 'node_modules', name)), 0)
    assert.ok(total <= 2_000_000, `${total} bytes`)
    assert.ok(existsSync(join(folder, 'node_modules/milo/dist/bundle.js')))
  })
})

describe('the package of the collector', () => {
  let folder: string
  let tarball: string
  let files: string[]

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'milo-pack-'))
    ;({ tarball, files } = pack('collector', folder))
  })

  after(() => rmSync(folder, { recursive: true }))

  it('is what publint asks for', async () => {
    const { stdout, stderr } = await runNode([join(ROOT, 'test/helpers/check-packed.mjs'), tarball])
    assert.deepEqual([stdout, stderr], ['', ''])
  })

  it('holds the program, its migrations and its pages, and no sources, tests or maps', () => {
    for (const file of [
      'bin/milo-collector.js',
      'dist/main.js',
      'dist/embedded-worker.js',
      'dist/ui/index.html',
      'README.md',
      'LICENSE',
    ]) {
      assert.ok(files.includes(file), `${file} isn't in the package`)
    }
    for (const store of ['cassandra', 'embedded', 'mysql'])
      assert.ok(
        files.some(f => f.startsWith(`dist/sql/${store}/`)),
        store,
      )
    assert.deepEqual(
      files.filter(f => /^(src|ui|test)\/|\.map$/.test(f)),
      [],
    )
  })

  it('needs no more than its dependencies', async () => {
    mkdirSync(join(folder, 'node_modules/milo-collector'), { recursive: true })
    execFileSync('tar', ['xzf', tarball, '-C', join(folder, 'node_modules/milo-collector'), '--strip-components=1'])
    const { dependencies, version } = JSON.parse(
      readFileSync(join(folder, 'node_modules/milo-collector/package.json'), 'utf8'),
    )
    for (const name of Object.keys(dependencies)) {
      const installed = [join(ROOT, 'collector/node_modules', name), join(ROOT, 'node_modules', name)].find(existsSync)
      mkdirSync(dirname(join(folder, 'node_modules', name)), { recursive: true })
      symlinkSync(installed!, join(folder, 'node_modules', name))
    }
    const { stdout, stderr } = await runNode([
      join(folder, 'node_modules/milo-collector/bin/milo-collector.js'),
      '--version',
    ])
    assert.deepEqual([stdout, stderr], ['', `${version}\n`])
  })
})

/** Packs what is built, as npm would publish it. */
function pack(workspace: string, folder: string): { tarball: string; files: string[] } {
  const packed = execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], {
    cwd: join(ROOT, workspace),
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const [{ filename, files }] = JSON.parse(packed.toString())
  return { tarball: join(folder, filename), files: files.map((f: { path: string }) => f.path) }
}
