import { createRequire } from 'node:module'
import { context, trace } from '@opentelemetry/api'
import { warnOnce } from '../process/copies'

/*
 * All copies of @opentelemetry/api meet in one place, and a copy that is newer than the one which has registered something there hears
 * nothing of it: Milo's would give no context and no propagator, and a tracer only where it is handed one.
 */
interface Registry {
  version?: string
  trace?: unknown
  context?: { active?(): unknown }
}

let isKnown = false

/** Says, when the first call finds that something has been registered, whether this copy of the API doesn't hear it. An SDK may come late. */
export function sayUnheard(): void {
  if (isKnown) return
  const there: Registry | undefined = (globalThis as any)[Symbol.for('opentelemetry.js.api.1')]
  if (there?.trace === undefined && there?.context === undefined) return
  isKnown = true
  const isHeard =
    there.trace === undefined
      ? context.active() === there.context?.active?.()
      : trace.getTracerProvider() === there.trace
  if (isHeard) return
  warnOnce(
    `ThriftInstrumentation doesn't hear what is registered with @opentelemetry/api ${there.version}, because its own copy${where()} is newer, so Thrift's calls aren't in the application's traces: install one version for all (npm ls @opentelemetry/api)`,
  )
}

function where(): string {
  try {
    const file = createRequire(__filename).resolve('@opentelemetry/api')
    return ` in ${/^.*[\\/]@opentelemetry[\\/]api/.exec(file)?.[0] ?? file}`
  } catch {
    return ''
  }
}
