import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { ROOT } from '../helpers/child'
import { AUTO, application, NEWEST, OLDEST, SDK } from './support'

const USES = `
import { type Instrumentation, registerInstrumentations } from '@opentelemetry/instrumentation'
import { ThriftInstrumentation } from 'milo/otel-instrumentation'

const one: Instrumentation = new ThriftInstrumentation({ propagation: 'compat', requestHook: (span, { method }) => span.setAttribute('m', method) })
registerInstrumentations({ instrumentations: [one, new ThriftInstrumentation()] })
registerInstrumentations({ instrumentations: [[new ThriftInstrumentation({ enabled: false })]] })
// @ts-expect-error an option that there isn't
new ThriftInstrumentation({ propagatoin: 'compat' })
`
const NODE_SDK = `
import { getNodeAutoInstrumentations } from '@opentelemetry/auto-instrumentations-node'
import { NodeSDK } from '@opentelemetry/sdk-node'
import { ThriftInstrumentation } from 'milo/otel-instrumentation'

new NodeSDK({ instrumentations: [getNodeAutoInstrumentations(), new ThriftInstrumentation()] }).start()
`

describe('the types of milo/otel-instrumentation', () => {
  const homes: string[] = []
  after(() => {
    for (const home of homes) rmSync(home, { recursive: true, force: true })
  })

  it('are an Instrumentation of the oldest and newest versions that it takes, which all of them register', async () => {
    const files: string[] = []
    for (const [packages, text] of [
      [OLDEST, USES.replace('[[', '[').replace(']]', ']')],
      [SDK, USES],
      [NEWEST, USES],
      [AUTO, NODE_SDK],
    ] as const) {
      const home = await application([...packages])
      homes.push(home)
      const file = join(home, 'uses.ts')
      writeFileSync(file, text)
      files.push(file)
    }
    // One program: it reads TypeScript's own declarations once.
    const program = ts.createProgram(files, {
      strict: true,
      exactOptionalPropertyTypes: true,
      lib: ['lib.es2022.d.ts'],
      module: ts.ModuleKind.Node16,
      moduleResolution: ts.ModuleResolutionKind.Node16,
      target: ts.ScriptTarget.ES2022,
      esModuleInterop: true,
      noEmit: true,
      skipLibCheck: true,
      types: ['node'],
      typeRoots: [join(ROOT, 'node_modules/@types')],
    })
    const found = files.flatMap(file => ts.getPreEmitDiagnostics(program, program.getSourceFile(file)))
    const host = { getCanonicalFileName: (n: string) => n, getCurrentDirectory: () => ROOT, getNewLine: () => '\n' }
    assert.equal(ts.formatDiagnostics(found, host), '')
  })
})
