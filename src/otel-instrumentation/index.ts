import { type MeterProvider, type Span, type Tracer, type TracerProvider, trace } from '@opentelemetry/api'
import { version } from '../../package.json'
import { thrift } from '../../plugins/thrift'
import { BadVariable, MiloError } from '../errors'
import { install, nameOf, type Tracer as Patcher, suspend } from '../patch/hook'
import { claimLibrary, releaseLibraries, warnOnce } from '../process/copies'
import { describe, LOG_LEVELS, type LogLevel, log, setLogLevel } from '../process/log'
import { naming, propagation } from '../start/options'
import { Kind } from '../trace/span'
import { knownOf, OLD } from './conventions'
import { run, type ThriftSettings } from './plugin'
import type { OtelSpan } from './span'

/** The options. All are optional. */
export interface ThriftInstrumentationConfig {
  /** False: nothing is traced until `enable()`. Default true. */
  enabled?: boolean
  /**
   * How a call carries its trace to the server. `compat` (default): what OpenTelemetry's propagators send, in field 8888 of the
   * arguments, as the Java agent does; `field`: Milo's own field; `calltrace`: the original Milo's messages, for servers that are known
   * to understand them; `off`. By peer too: `field,legacy.internal:9090=calltrace,10.0.0.7=off`. MILO_PROPAGATION. What comes in is read
   * in all of these forms.
   */
  propagation?: string
  /** Called with the span and the arguments of each recorded call, to set attributes. Otherwise no arguments are recorded. */
  requestHook?: (span: Span, request: ThriftRequest) => void
  /** How much is written to standard error: silent, error, warn, info, debug. MILO_LOG_LEVEL. Default warn. */
  logLevel?: LogLevel
}

/** What `requestHook` is told of a call. */
export interface ThriftRequest {
  side: 'client' | 'server'
  /** Undefined where the generated code doesn't say it. */
  service: string | undefined
  method: string
  args: unknown[]
}

const NAME = 'milo/otel-instrumentation'

const PATCHER: Patcher = {
  name: 'ThriftInstrumentation',
  where: typeof __dirname === 'string' ? __dirname : 'a bundle',
  early: 'set OpenTelemetry up before it (node --require ./instrumentation.js, or --import)',
  earlyInBundle: 'import what sets OpenTelemetry up first in the bundle',
  earlyInJest: "start jest with the file that sets OpenTelemetry up: NODE_OPTIONS='-r ./instrumentation.js'",
  leave: () => 'leave ThriftInstrumentation out',
}

/** The instrumentation that traces, and what puts its patches back in place. */
let owner: ThriftInstrumentation | undefined
let resume: (() => void) | undefined

/**
 * Traces Apache Thrift (npm thrift 0.9.3 and later) by OpenTelemetry: an instrumentation for `registerInstrumentations`, NodeSDK and
 * whatever takes one of @opentelemetry/instrumentation's. docs/opentelemetry.md has the setup, and what its spans say.
 *
 *     new NodeSDK({ instrumentations: [getNodeAutoInstrumentations(), new ThriftInstrumentation()] }).start()
 */
export class ThriftInstrumentation {
  readonly instrumentationName: string = NAME
  readonly instrumentationVersion: string = version
  private config: ThriftInstrumentationConfig = {}
  /** Undefined: there are none that can be used. */
  private settings: ThriftSettings | undefined
  private tracer: Tracer

  /**
   * With an environment variable that can't be used it says so, and Thrift isn't traced.
   * @throws MiloError that names the option, the value and the remedy
   */
  constructor(config: ThriftInstrumentationConfig = {}) {
    this.tracer = trace.getTracer(NAME, version)
    this.setConfig(config)
    if (this.config.enabled) this.enable()
  }

  /** Traces from now on what has been loaded since the first time, and what will be loaded. */
  enable(): void {
    if (owner === this || this.settings === undefined) return
    if (owner !== undefined) {
      warnOnce(
        'a second ThriftInstrumentation is off, because the first one traces Thrift in this process; one is enough',
      )
      return
    }
    if (!claimLibrary(thrift.name, nameOf(PATCHER), PATCHER.leave(thrift.name))) return
    owner = this
    this.use()
    if (resume === undefined) install([thrift], PATCHER)
    else {
      resume()
      resume = undefined
    }
  }

  /** Takes back what was patched. Calls that are under way keep their spans. */
  disable(): void {
    if (owner !== this) return
    owner = undefined
    run(undefined)
    resume = suspend()
    releaseLibraries()
  }

  setTracerProvider(provider: TracerProvider): void {
    this.tracer = provider.getTracer(NAME, version)
    this.use()
  }

  /** There are no metrics. */
  setMeterProvider(_provider: MeterProvider): void {}

  /** @throws MiloError that names the option, the value and the remedy */
  setConfig(config: ThriftInstrumentationConfig = {}): void {
    try {
      this.settings = naming(process.env, env => settingsOf(config, env))
    } catch (error) {
      if (!(error instanceof BadVariable)) throw error
      this.settings = undefined
      refuse(error)
    }
    this.config = { enabled: true, ...config }
    this.use()
  }

  getConfig(): ThriftInstrumentationConfig {
    return this.config
  }

  private use(): void {
    const { tracer, settings } = this
    if (owner === this) run(settings && { tracer, settings })
  }
}

const OPTIONS = ['enabled', 'propagation', 'requestHook', 'logLevel']

function settingsOf(config: ThriftInstrumentationConfig, env: NodeJS.ProcessEnv): ThriftSettings {
  const unknown = Object.keys(config).find(name => !OPTIONS.includes(name))
  if (unknown !== undefined) {
    throw new MiloError(
      'MILO_BAD_OPTION',
      `${unknown} isn't an option of ThriftInstrumentation; there are ${OPTIONS.join(', ')}`,
    )
  }
  const { requestHook } = config
  if (requestHook !== undefined && typeof requestHook !== 'function')
    throw new MiloError('MILO_BAD_OPTION', `requestHook must be a function, got ${typeof requestHook}`)
  const logLevel = config.logLevel ?? (env.MILO_LOG_LEVEL || 'warn')
  if (!LOG_LEVELS.includes(logLevel as LogLevel))
    throw new MiloError('MILO_BAD_LOG_LEVEL', `logLevel must be one of ${LOG_LEVELS.join(', ')}, got '${logLevel}'`)
  const { thrift } = propagation(config.propagation ?? (env.MILO_PROPAGATION || 'compat'), 'compat')
  if ([thrift.default, ...thrift.peers.values()].includes('calltrace-legacy16')) {
    throw new MiloError(
      'MILO_BAD_PROPAGATION',
      "propagation can't be calltrace-legacy16 here: its ids have 31 bits, and OpenTelemetry's have 64; use off for that peer",
    )
  }
  setLogLevel(logLevel as LogLevel)
  return { propagation: thrift, onRequest: requestHook && hookOf(requestHook) }
}

function hookOf(hook: NonNullable<ThriftInstrumentationConfig['requestHook']>): ThriftSettings['onRequest'] {
  const onRequest: ThriftSettings['onRequest'] = (span, args) => {
    const { api, kind, known = [] } = span as unknown as OtelSpan
    const { service, method } = knownOf(known, OLD)
    return hook(api, { side: kind === Kind.CLIENT ? 'client' : 'server', service, method, args })
  }
  return Object.assign(onRequest, { option: 'requestHook' })
}

/**
 * `milo/otel-instrumentation/register`, for setups without code: traces Thrift by the global tracer provider, whether that is
 * there already or comes later. Never throws.
 */
export function register(): void {
  try {
    new ThriftInstrumentation()
  } catch (error) {
    refuse(error)
  }
}

function refuse(error: unknown): void {
  log('error', `${error instanceof MiloError ? error.message : describe(error)} — Thrift isn't traced`)
}
