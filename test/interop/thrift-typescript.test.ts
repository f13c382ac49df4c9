import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { ModuleKind, ScriptTarget, transpileModule } from 'typescript'
import { current, span } from '../../src/index'
import { start, stop, type TestSpan, tree } from '../../src/testing'
import { ROOT } from '../helpers/child'
import { ended } from '../helpers/ended'
import { client, closeAll, serve, traced, WIRES, wireName } from '../helpers/thrift'
import { run } from '../servers/install'
import { npmPackages } from '../servers/npm'

/** Code of @creditkarma/thrift-typescript for npm thrift: classes without names, exceptions that are no Errors. */
describe('code that thrift-typescript has generated', () => {
  let folder: string
  let Calculator: any
  let Oops: any
  let spans: TestSpan[]

  before(async () => {
    const installed = await npmPackages('@creditkarma/thrift-typescript@3.7.6')
    folder = mkdtempSync(join(tmpdir(), 'milo-test-thrift-typescript-'))
    const idl = join(ROOT, 'test/gen')
    const options = ['--target', 'apache', '--rootDir', '.', '--sourceDir', '.', '--outDir', folder]
    await run(join(installed, 'node_modules/.bin/thrift-typescript'), [...options, 'calculator.thrift'], { cwd: idl })
    const compilerOptions = { module: ModuleKind.CommonJS, target: ScriptTarget.ES2020 }
    for (const file of readdirSync(folder)) {
      const { outputText } = transpileModule(readFileSync(join(folder, file), 'utf8'), { compilerOptions })
      writeFileSync(join(folder, `${basename(file, '.ts')}.js`), outputText)
    }
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
    const load = createRequire(join(folder, 'app.js'))
    Calculator = load('./Calculator.js')
    Oops = load('./Oops.js').Oops
  })

  after(() => {
    if (folder !== undefined) rmSync(folder, { recursive: true })
  })

  afterEach(() => {
    stop()
    closeAll()
  })

  const touched = `  Calculator.touch (client) error.type=TApplicationException thrift.result=application_exception
    Calculator.touch (server) thrift.result=application_exception error.type=Error
`

  const fired = `
  Calculator.fire (client) thrift.result=ok
    Calculator.fire (server) thrift.result=ok`

  const handler = () => ({
    ping: async (name: string) => name,
    add: async (a: number, b: number) => span('handling', () => a + b),
    divide: async (a: number, b: number) => {
      if (b === 0) throw new Oops({ why: 'zero', code: 7 })
      return a / b
    },
    touch: async () => {
      throw new Error('undeclared')
    },
    fire: async () => {},
  })

  for (const wire of WIRES) {
    it(`has its service's name, and every result of its calls: ${wireName(wire)}`, async () => {
      const voids = wire.transport === 'TFramedTransport' && wire.protocol === 'TBinaryProtocol'
      const shown: unknown[][] = []
      spans = start({ onRequest: (_span, args) => void shown.push(args) })
      const { port } = await serve(traced, Calculator, handler(), wire)
      const c = client(traced, Calculator, port, wire)
      await span('caller', async own => {
        assert.equal(await c.add(1, 2), 3)
        assert.equal(current(), own)
        await assert.rejects(c.divide(1, 0), error => error instanceof Oops)
        // Arguments of a method without any, and results of a void one, are left unread: binary in frames survives that.
        if (voids) await assert.rejects(c.touch(), { message: 'undeclared' })
        assert.equal(await c.ping('x'), 'x')
        if (voids) assert.equal(await c.fire('now'), undefined)
      })
      await ended(voids ? 12 : 8)
      assert.deepEqual(shown.slice(0, 2), [
        [1, 2],
        [1, 2],
      ])
      assert.equal(
        tree({ annotations: ['error.type', 'thrift.result', 'thrift.oneway'] })
          .replace(/ [\w.]+\+=\d+/g, '')
          .replaceAll('thrift.result=exception error.type=Oops', 'error.type=Oops thrift.result=exception')
          .replaceAll(/thrift\.result=(\w+) error.type=TApp(\w+)/g, 'error.type=TApp$2 thrift.result=$1'),
        `caller
  Calculator.add (client) thrift.result=ok
    Calculator.add (server) thrift.result=ok
      handling
  Calculator.divide (client) error.type=Oops thrift.result=exception
    Calculator.divide (server) error.type=Oops thrift.result=exception
${voids ? touched : ''}  Base.ping (client) thrift.result=ok
    Base.ping (server) thrift.result=ok${voids ? fired : ''}`,
      )
      assert.equal(spans.length, voids ? 12 : 8)
    })

    it(`is called and calls beside Apache's, oneway too: ${wireName(wire)}`, async () => {
      spans = start()
      const apache = await serve(traced, traced.Calculator, handler(), wire)
      const own = await serve(traced, Calculator, handler(), wire)
      const calls = client(traced, Calculator, apache.port, wire)
      const called = client(traced, traced.Calculator, own.port, wire)
      assert.equal(await calls.add(1, 2), 3)
      // Sent as any other call, and never answered.
      void calls.fire('x')
      assert.equal(await calls.ping('y'), 'y')
      assert.equal(await called.add(1, 2), 3)
      await ended(9)
      assert.ok(spans.every(s => s.kind === 'local' || s.annotations['thrift.result'] === 'ok'))
      assert.deepEqual(
        spans.filter(s => s.name === 'Calculator.fire').map(s => s.kind),
        ['server'],
      )
    })
  }
})
