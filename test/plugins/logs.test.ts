import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT, runNode } from '../helpers/child'
import { npmPackages } from '../servers/npm'

/** Each runs the real library, in an application of its own under milo/register. */
const LIBRARIES = [
  { name: 'pino', versions: ['5.0.0', '7.0.0', '10.4.0'] },
  { name: 'winston', versions: ['3.0.0', '3.19.0'] },
] as const

const LOGGER = {
  pino: `
    const destination = pino.destination(1)
    const root = pino({ base: null, timestamp: false }, destination)
    const make = bindings => bindings ? root.child(bindings) : root
    const timed = pino({ base: null }, destination)
    const error = new Error('broken')`,
  winston: `
    const { format, transports } = winston
    const root = winston.createLogger({
      format: format.combine(format.errors ? format.errors({ stack: true }) : format.simple(), format.json()),
      transports: [new transports.Console()],
    })
    // 3.0 has no children.
    const child = bindings => root.child ? root.child(bindings) : { info: message => root.info({ ...bindings, message }) }
    const make = bindings => bindings ? child(bindings) : root
    const timed = root
    const error = new Error('broken')`,
}

/** Logs seven records, and at its end prints what ids were current for each. */
const application = (name: 'pino' | 'winston') => `
  ${LOGGER[name]}
  const expected = []
  const expect = () => expected.push(milo.ids() ?? null)
  process.on('exit', () => console.log(JSON.stringify({ expected })))
  const mine = { order: 7, message: 'mine' }
  make().info('outside'); expect()
  milo.span('one', () => {
    make().info('in one'); expect()
    milo.span('two', () => { make().warn(mine, 'in two'); expect() })
    timed.error(error); expect()
    make().info({ trace_id: 'own', message: 'own' }); expect()
    make({ trace_id: 'bound' }).info('bound'); expect()
  })
  setTimeout(() => milo.span('later', async () => { await null; make().info('later'); expect() }), 1)
  if (Object.keys(mine).some(key => /_id/.test(key)) || 'trace_id' in error) console.log('touched')
`

for (const { name, versions } of LIBRARIES) {
  for (const version of versions) {
    describe(`${name} ${version}`, () => {
      let folder: string

      before(async function () {
        this.timeout(180_000)
        const installed = await npmPackages(`${name}@${version}`)
        folder = mkdtempSync(join(tmpdir(), `milo-${name}-`))
        symlinkSync(join(installed, 'node_modules'), join(folder, 'node_modules'))
        writeFileSync(
          join(folder, 'app.cjs'),
          `const milo = require(${JSON.stringify(ROOT)}); const ${name} = require('${name}'); ${application(name)}`,
        )
        writeFileSync(
          join(folder, 'app.mjs'),
          `import milo from ${JSON.stringify(join(ROOT, 'dist/index.mjs'))}; import ${name} from '${name}'; ${application(name)}`,
        )
      })

      after(() => {
        if (folder) rmSync(folder, { recursive: true })
      })

      async function run(file: string, env: Record<string, string>): Promise<{ records: any[]; expected: any[] }> {
        const result = await runNode(
          ['-r', join(ROOT, 'dist/register.js'), file],
          { MILO_SCRIBE: '127.0.0.1:1', MILO_LOG_LEVEL: 'error', ...env },
          folder,
        )
        assert.deepEqual([result.status, result.stderr], [0, ''])
        const lines = result.stdout.trim().split('\n')
        // A key that is there twice is one that parsers disagree about.
        for (const line of lines) assert.ok((line.match(/"(trace|span)_id"/g) ?? []).length <= 2, line)
        const { expected } = JSON.parse(lines.find(line => line.startsWith('{"expected"'))!)
        const records = lines.filter(line => !line.startsWith('{"expected"')).map(line => JSON.parse(line))
        assert.deepEqual([records.length, expected.length], [7, 7])
        return { records, expected }
      }

      for (const file of ['app.cjs', 'app.mjs']) {
        it(`has the current span's ids in its records once asked for, and all else as ever, in ${file}`, async () => {
          const { records, expected } = await run(file, { MILO_LOG_CORRELATION: '1' })
          const untouched = (await run(file, {})).records
          const ids = expected.map(one => one && { trace_id: one.traceId, span_id: one.spanId })
          assert.deepEqual(
            ids.map(one => one !== null),
            [false, true, true, true, true, true, true],
          )
          // The application's own ids are left alone.
          ids[4] = ids[5] = null
          const timeless = (record: any) => ({ ...record, time: undefined })
          assert.deepEqual(
            records.map(timeless),
            untouched.map((record, i) => timeless({ ...record, ...ids[i] })),
          )
          assert.notEqual(ids[1]!.span_id, ids[2]!.span_id)
        })
      }

      it('is left alone when nobody asked for more', async () => {
        const { records } = await run('app.cjs', { MILO_LOG_CORRELATION: '0' })
        assert.deepEqual(
          records.map(({ trace_id }) => trace_id),
          [undefined, undefined, undefined, undefined, 'own', 'bound', undefined],
        )
      })
    })
  }
}
