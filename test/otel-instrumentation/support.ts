import assert from 'node:assert/strict'
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT, runNode } from '../helpers/child'
import { npmPackages } from '../servers/npm'

/** OpenTelemetry's SDK as applications have it: the newest line that runs on Node 20, the newest of all, the oldest that Milo takes. */
export const SDK = [
  '@opentelemetry/api@1.9.1',
  '@opentelemetry/core@2.12.1',
  '@opentelemetry/context-async-hooks@2.12.1',
  '@opentelemetry/sdk-trace-base@2.12.1',
  '@opentelemetry/instrumentation@0.223.0',
  '@opentelemetry/exporter-trace-otlp-proto@0.223.1',
]
export const NEWEST = [
  '@opentelemetry/api@1.10.0',
  '@opentelemetry/core@3.1.0',
  '@opentelemetry/context-async-hooks@3.1.0',
  '@opentelemetry/sdk-trace@3.1.0',
  '@opentelemetry/instrumentation@0.301.1',
]
export const OLDEST = [
  '@opentelemetry/api@1.3.0',
  '@opentelemetry/core@1.8.0',
  '@opentelemetry/context-async-hooks@1.8.0',
  '@opentelemetry/sdk-trace-base@1.8.0',
  '@opentelemetry/instrumentation@0.34.0',
]

/** OpenTelemetry for Node, whole: what docs/opentelemetry.md tells its readers to have. */
export const AUTO = [
  '@opentelemetry/api@1.9.1',
  '@opentelemetry/sdk-node@0.223.0',
  '@opentelemetry/auto-instrumentations-node@0.81.2',
]

/** A folder as an application's, with these packages, Milo as npm would install it, and this folder's programs. */
export async function application(packages: string[]): Promise<string> {
  const installed = join(await npmPackages(...packages), 'node_modules')
  const home = mkdtempSync(join(tmpdir(), 'milo-test-otel-app-'))
  const modules = join(home, 'node_modules')
  mkdirSync(join(modules, 'milo'), { recursive: true })
  for (const name of readdirSync(installed).filter(name => name !== 'shimmer'))
    symlinkSync(join(installed, name), join(modules, name))
  for (const name of ['thrift', 'shimmer']) symlinkSync(join(ROOT, 'node_modules', name), join(modules, name))
  // A copy: through a link, Milo would find the repository's own @opentelemetry/api.
  cpSync(join(ROOT, 'dist'), join(modules, 'milo/dist'), { recursive: true })
  copyFileSync(join(ROOT, 'package.json'), join(modules, 'milo/package.json'))
  for (const name of readdirSync(__dirname))
    if (/\.[cm]js$/.test(name)) copyFileSync(join(__dirname, name), join(home, name))
  return home
}

export interface OtelSpan {
  name: string
  kind: string
  traceId: string
  spanId: string
  traceFlags: number
  parentId?: string
  attributes: Record<string, unknown>
  status: { code: number; message?: string }
  events: { name: string; attributes: Record<string, unknown> }[]
}

export interface Told {
  seen: unknown[]
  spans: OtelSpan[]
  stderr: string
}

/** Runs app.cjs. @param args see there and sdk.cjs */
export async function runApp(
  home: string,
  args: object,
  {
    env = {},
    flags = [],
    node = process.execPath,
  }: { env?: Record<string, string>; flags?: string[]; node?: string } = {},
): Promise<Told> {
  const { status, stdout, stderr } = await runNode(
    [...flags, 'app.cjs'],
    { GEN: join(ROOT, 'test/gen'), ARGS: JSON.stringify(args), ...env },
    home,
    node,
  )
  assert.equal(status, 0, stderr)
  return { ...JSON.parse(stdout), stderr }
}

/** Flags by which a program of test/fixtures has ThriftInstrumentation in the place of Milo. @param home see `application` */
export const insteadOfMilo = (home: string): string[] => ['-r', join(home, 'as-milo.cjs')]

/** A tree of Milo's as ThriftInstrumentation makes it: with OpenTelemetry's names, and without what other plugins of Milo's trace. */
export function thriftAlone(tree: string): string {
  const lines = tree.split('\n').filter(line => !/^ *"POST /.test(line))
  return lines.map(line => line.replace(/^( *\w+)\.(?=\w+ \()/, '$1/')).join('\n')
}

/** The spans as trees, a line for each: name, `>` for a client's, `<` for a server's, `!` and the type for one that failed. */
export function trees(spans: OtelSpan[]): string {
  const ids = new Set(spans.map(({ spanId }) => spanId))
  const lines = (parents: OtelSpan[], depth: number): string[] =>
    parents.flatMap(span => {
      const sign = { client: ' >', server: ' <' }[span.kind] ?? ''
      const failed = span.status.code === 2 ? ` !${span.attributes['error.type']}` : ''
      const children = spans.filter(({ parentId }) => parentId === span.spanId)
      return [`${'  '.repeat(depth)}${span.name}${sign}${failed}`, ...lines(children, depth + 1)]
    })
  return lines(
    spans.filter(({ parentId }) => parentId === undefined || !ids.has(parentId)),
    0,
  ).join('\n')
}
