import { MiloError, type MiloErrorCode } from '../errors'
import type { Address } from '../export/connection'
import type { ScribeEncoding } from '../export/scribe'
import type { SpoolOptions } from '../export/spool'
import type { RetroactiveOptions, RetroactiveSettings } from '../keep/settings'
import type { Plugin } from '../patch/plugin'
import { builtin } from '../process/builtin'
import { LOG_LEVELS, type LogLevel } from '../process/log'
import { AdaptiveSampler, type OperationSampling } from '../trace/adaptive'
import {
  type BaggageKeys,
  type BothPropagations,
  type Carrier,
  HTTP_FORMATS,
  type HttpPropagation,
  type Propagation,
} from '../trace/propagation'
import { type Sampler, samplerFrom } from '../trace/sampler'
import type { Span } from '../trace/span'
import type { ExportTarget, ExportTo } from './exports'
import { serviceOf } from './service'
import { isShortString } from './short-string'
import { show } from './show'
import { isTarget } from './target'
import type { TlsOptions } from './tls'

const STATEMENTS = ['masked', 'all', 'none'] as const
type Statements = (typeof STATEMENTS)[number]

/** The options of init. Each has an environment variable, which counts where the option isn't given. */
export interface Options {
  /** False: nothing is patched, recorded or sent. MILO_ENABLED=0 turns it off whatever the option says. Default true. */
  enabled?: boolean
  /** The service that reports the spans. MILO_SERVICE. Default: the name of the package.json nearest to the application's file, else of the file. */
  service?: string
  /** This machine, as spans name it. Default: the host's name. */
  host?: string
  /** Where spans go: `host:port` or `tls://host:port`, several separated by commas, tried in turn. MILO_SCRIBE. Default 127.0.0.1:1463. */
  scribe?: string
  /** Uses TLS for every address, even one without `tls://`: PEM as a string or bytes. Default: the authorities that Node trusts. */
  scribeTls?: TlsOptions
  /** `raw`, or `base64` for a relay that keeps nothing but text. MILO_SCRIBE_ENCODING. Default raw. */
  scribeEncoding?: ScribeEncoding
  /**
   * Whom spans go to: `scribe`, `otlp:http://host:4318`, `zipkin:https://host`, several separated by commas or in a list, where
   * each may have headers and TLS of its own. MILO_EXPORT, and MILO_EXPORT_HEADERS for `name=value,otlp:name=value`. Default scribe.
   */
  export?: string | (string | ExportTo)[]
  /** `adaptive`, `always`, `never`, `probability:0.01`, or one of your own. MILO_SAMPLER. Default adaptive. */
  sampler?: string | Sampler
  /** About how many new traces a second the adaptive sampler keeps in this process. MILO_TRACES_PER_SECOND. Default 10. */
  tracesPerSecond?: number
  /** The adaptive sampler's exceptions, by the name of a trace's first span: a probability, or a target beside the others'. */
  operations?: Record<string, OperationSampling>
  /**
   * How a trace travels: over Thrift `field`, `compat` and so on, over HTTP `w3c`, `b3`, `b3multi` (`b3+w3c` for both), or `off`; by peer
   * `host:port=…`, `host=…`, `*.domain=…`; several separated by commas. MILO_PROPAGATION. Default `field,w3c`.
   */
  propagation?: string
  /**
   * Whose headers are believed when an HTTP request comes in, and whose baggage when a Thrift call does: `all`, `none`, or addresses and
   * networks (`10.0.0.0/8`), separated by commas. MILO_TRUSTED_CALLERS. Default all.
   */
  trustedCallers?: string
  /** The keys of W3C baggage that requests may bring and calls take along, separated by commas; `*` for all. MILO_BAGGAGE. Default: none. */
  baggage?: string
  /** Plugins of your own. Milo's come with milo/register, which takes MILO_PLUGINS: `thrift,http`, or `-http` for all but one. */
  plugins?: Plugin[]
  /** Called with the span and the arguments of each Thrift call that is sampled or recorded, to annotate the span. Otherwise no arguments are recorded. */
  onRequest?: (span: Span, args: unknown[]) => void
  /**
   * Adds trace_id and span_id to the records of pino and winston where a span is current. This can't be undone.
   * MILO_LOG_CORRELATION. Default false.
   */
  logCorrelation?: boolean
  /** Makes `require('cls-hooked')` return milo/cls. This can't be undone. MILO_CLS_HOOKED. Default false. */
  clsHooked?: boolean
  /** What is kept of statements to databases: `masked`, `all`, `none`. MILO_STATEMENTS. Default masked: all but literals. */
  statements?: Statements
  /** How much Milo writes to standard error: silent, error, warn, info, debug. MILO_LOG_LEVEL. Default warn. */
  logLevel?: LogLevel
  /** Ended spans kept while Scribe can't take them. Default 10,000. */
  maxBufferedSpans?: number
  /** About how many bytes of memory they may take. Default 16 MiB. */
  maxBufferedBytes?: number
  /** A directory for spans that can't be sent, and how many bytes it may have: default 64 MiB. MILO_SPOOL, MILO_SPOOL_MAX_BYTES. Default: none. */
  spool?: { directory: string; maxBytes?: number }
  /**
   * Records the traces that aren't kept into a history in memory, and keeps those of them, after the fact, that turn out slow or failed:
   * `true`, or `{ bytes, triggers, lateral }`. See docs/retroactive.md. MILO_RETROACTIVE. Default false.
   */
  retroactive?: boolean | RetroactiveOptions
  /** How long the end of the process may wait for Scribe, in milliseconds. Default 1,000. */
  exitTimeoutMs?: number
}

/** Options and environment, checked, with every default filled in. */
export interface Settings {
  enabled: boolean
  service: string
  readonly host: string
  scribe: Address[]
  scribeEncoding: ScribeEncoding
  exports: ExportTarget[]
  sampler: Sampler
  tracesPerSecond: number
  propagation: Propagation
  http: HttpPropagation
  plugins: Plugin[]
  /** MILO_PLUGINS as given: names, some with a `-`; empty for all. */
  pluginNames: string[]
  onRequest: ((span: Span, args: unknown[]) => void) | undefined
  logCorrelation: boolean
  clsHooked: boolean
  statements: Statements
  logLevel: LogLevel
  maxBufferedSpans: number
  maxBufferedBytes: number
  spool: SpoolOptions | undefined
  retroactive: RetroactiveSettings | undefined
  exitTimeoutMs: number
  /** What to say of variables that begin like Milo's and aren't, or that have no effect without another one. */
  oddVariables: string[]
}

const OPTION_NAMES: Record<keyof Options, true> = {
  enabled: true,
  service: true,
  host: true,
  scribe: true,
  scribeTls: true,
  scribeEncoding: true,
  export: true,
  sampler: true,
  tracesPerSecond: true,
  operations: true,
  propagation: true,
  trustedCallers: true,
  baggage: true,
  plugins: true,
  onRequest: true,
  logCorrelation: true,
  clsHooked: true,
  statements: true,
  logLevel: true,
  maxBufferedSpans: true,
  maxBufferedBytes: true,
  spool: true,
  retroactive: true,
  exitTimeoutMs: true,
}

/** @throws MiloError that names the value and the remedy; BadVariable where it is a variable's value */
export function readSettings(options: Options = {}, env: NodeJS.ProcessEnv = process.env): Settings {
  return naming(env, env => read(options, env))
}

/**
 * Returns what `read` makes of the environment.
 * @throws BadVariable in the place of its MiloError, if it comes from a variable
 */
export function naming<T>(env: NodeJS.ProcessEnv, read: (env: NodeJS.ProcessEnv) => T): T {
  try {
    return read(env)
  } catch (error) {
    throw error instanceof MiloError ? seldom().named(error, VARIABLES, env, read) : error
  }
}

function read(options: Options, env: NodeJS.ProcessEnv): Settings {
  if (typeof options !== 'object' || options === null)
    throw new MiloError('MILO_BAD_OPTION', `the options must be an object, got ${show(options)}`)
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(OPTION_NAMES, name)) {
      throw new MiloError(
        'MILO_BAD_OPTION',
        `${name} isn't an option of Milo; there are ${Object.keys(OPTION_NAMES).join(', ')}`,
      )
    }
  }
  const tracesPerSecond = target(options.tracesPerSecond ?? number(env.MILO_TRACES_PER_SECOND) ?? 10)
  const exceptions = options.operations == null ? {} : seldom().operations(options.operations)
  // Asked for late: node:os is loaded with the first span that is sent.
  const host = optionalString('MILO_BAD_OPTION', 'host', options.host)
  const { thrift, http } = propagation(options.propagation ?? unset(env.MILO_PROPAGATION) ?? 'field')
  const settings: Settings = {
    enabled: enabled(options.enabled, env.MILO_ENABLED),
    service:
      optionalString('MILO_BAD_SERVICE', 'service', options.service ?? unset(env.MILO_SERVICE)) ??
      serviceOf({ argv: process.argv, execArgv: process.execArgv, env }),
    get host() {
      return host ?? builtin('node:os', () => require('node:os')).hostname()
    },
    scribe: addresses(options.scribe ?? unset(env.MILO_SCRIBE) ?? '127.0.0.1:1463', options.scribeTls),
    scribeEncoding: encoding(options.scribeEncoding ?? unset(env.MILO_SCRIBE_ENCODING) ?? 'raw'),
    exports: exporters(options.export ?? unset(env.MILO_EXPORT) ?? 'scribe', unset(env.MILO_EXPORT_HEADERS)),
    sampler: sampler(options.sampler ?? unset(env.MILO_SAMPLER) ?? 'adaptive', tracesPerSecond, exceptions),
    tracesPerSecond,
    propagation: thrift,
    http: {
      formats: http,
      trusts: trustedCallers(options.trustedCallers ?? unset(env.MILO_TRUSTED_CALLERS) ?? 'all'),
      baggage: baggage(options.baggage ?? unset(env.MILO_BAGGAGE)),
    },
    plugins: plugins(options.plugins ?? []),
    pluginNames: (unset(env.MILO_PLUGINS) ?? '').split(',').flatMap(name => name.trim() || []),
    onRequest: callable('onRequest', options.onRequest),
    logCorrelation: flag('logCorrelation', options.logCorrelation, 'MILO_LOG_CORRELATION', env.MILO_LOG_CORRELATION),
    clsHooked: flag('clsHooked', options.clsHooked, 'MILO_CLS_HOOKED', env.MILO_CLS_HOOKED),
    statements: statements(options.statements ?? unset(env.MILO_STATEMENTS) ?? 'masked'),
    logLevel: level(options.logLevel ?? unset(env.MILO_LOG_LEVEL) ?? 'warn'),
    maxBufferedSpans: whole('maxBufferedSpans', options.maxBufferedSpans ?? 10_000, 1, 10_000_000),
    maxBufferedBytes: whole('maxBufferedBytes', options.maxBufferedBytes ?? 16 * MIB, 1024, 1024 * MIB),
    spool: spool(options.spool, unset(env.MILO_SPOOL), number(env.MILO_SPOOL_MAX_BYTES)),
    retroactive: retroactive(options.retroactive, env),
    exitTimeoutMs: whole('exitTimeoutMs', options.exitTimeoutMs ?? 1_000, 0, 60_000),
    oddVariables: [],
  }
  // The collector has variables of its own, and says itself which it doesn't know; so have its commands.
  const odd = Object.keys(env).filter(
    name =>
      /^MILO_(?!COLLECTOR|(?:LOAD|HDFS|EXPORT)_TOKEN$)/i.test(name) &&
      (!VARIABLES.includes(name) || /^MILO_(?:EXPORT|RETROACTIVE|SPOOL)_/.test(name)),
  )
  if (odd.length > 0) settings.oddVariables = seldom().oddVariables(odd, VARIABLES, env, settings)
  return settings
}

const MIB = 1024 * 1024

/** The variables that are read above. */
export const VARIABLES = [
  'MILO_ENABLED',
  'MILO_SERVICE',
  'MILO_SCRIBE',
  'MILO_SCRIBE_ENCODING',
  'MILO_EXPORT',
  'MILO_EXPORT_HEADERS',
  'MILO_SAMPLER',
  'MILO_TRACES_PER_SECOND',
  'MILO_PROPAGATION',
  'MILO_TRUSTED_CALLERS',
  'MILO_BAGGAGE',
  'MILO_PLUGINS',
  'MILO_LOG_CORRELATION',
  'MILO_CLS_HOOKED',
  'MILO_STATEMENTS',
  'MILO_LOG_LEVEL',
  'MILO_SPOOL',
  'MILO_SPOOL_MAX_BYTES',
  'MILO_RETROACTIVE',
  'MILO_RETROACTIVE_BYTES',
  'MILO_RETROACTIVE_TRIGGERS',
  'MILO_RETROACTIVE_LATERAL',
  'MILO_DOCTOR_COLLECTOR',
  'MILO_DOCTOR_SECONDS',
  'MILO_DOCTOR_TOKEN',
]

export function unset(value: string | undefined): string | undefined {
  return value === undefined || value === '' ? undefined : value
}

/** What isn't a number stays as it is, to be shown. */
function number(value: string | undefined): number | undefined {
  const text = unset(value)
  return (text === undefined || Number.isNaN(Number(text)) ? text : Number(text)) as number | undefined
}

function enabled(option: unknown, variable: string | undefined): boolean {
  const given = truth('MILO_BAD_ENABLED', 'enabled', option)
  const set = onOff('MILO_BAD_ENABLED', 'MILO_ENABLED', variable)
  return set === false ? false : (given ?? true)
}

function flag(name: string, option: unknown, variableName: string, variable: string | undefined): boolean {
  return truth('MILO_BAD_OPTION', name, option) ?? onOff('MILO_BAD_OPTION', variableName, variable) ?? false
}

function truth(code: MiloErrorCode, name: string, value: unknown): boolean | undefined {
  if (value === undefined || typeof value === 'boolean') return value
  throw new MiloError(code, `${name} must be true or false, got ${show(value)}`)
}

function onOff(code: MiloErrorCode, name: string, value: string | undefined): boolean | undefined {
  switch (unset(value)?.toLowerCase()) {
    case undefined:
      return undefined
    case '1':
    case 'true':
    case 'yes':
    case 'on':
      return true
    case '0':
    case 'false':
    case 'no':
    case 'off':
      return false
    default:
      throw new MiloError(code, `${name} must be 1 or 0, got '${value}'`)
  }
}

function optionalString(code: MiloErrorCode, name: string, value: unknown): string | undefined {
  if (value === undefined) return undefined
  if (isShortString(value)) return value
  throw new MiloError(code, `${name} must be a string of 1 to 256 characters, got ${show(value)}`)
}

function addresses(value: unknown, tlsOptions: TlsOptions | undefined): Address[] {
  const parts = typeof value === 'string' ? value.split(',').map(part => part.trim()) : []
  if (parts.length === 0)
    throw new MiloError('MILO_BAD_SCRIBE', `scribe must be host:port[,host:port], got ${show(value)}`)
  const needsTls = tlsOptions !== undefined || parts.some(part => part.startsWith('tls://'))
  const tls = needsTls ? seldom().tlsTerms('MILO_BAD_SCRIBE', 'scribeTls', tlsOptions ?? {}) : undefined
  return parts.map(part => {
    const match = /^(tls:\/\/)?(?:\[([^\]]+)\]|([^:\s/]+)):(\d{1,5})$/.exec(part)
    const port = Number(match?.[4])
    if (match === null || port < 1 || port > 65535) {
      throw new MiloError(
        'MILO_BAD_SCRIBE',
        `scribe must be host:port with a port from 1 to 65535, got '${part}'; with TLS it is tls://host:port`,
      )
    }
    const host = match[2] ?? match[3]!
    return tlsOptions !== undefined || match[1] !== undefined ? { host, port, tls } : { host, port }
  })
}

function encoding(value: unknown): ScribeEncoding {
  if (value === 'raw' || value === 'base64') return value
  throw new MiloError('MILO_BAD_SCRIBE', `scribeEncoding must be raw or base64, got ${show(value)}`)
}

function spool(
  option: unknown,
  variable: string | undefined,
  variableBytes: number | undefined,
): SpoolOptions | undefined {
  const value = option ?? (variable === undefined ? undefined : { directory: variable })
  return value === undefined ? undefined : seldom().spool(value, variableBytes)
}

function retroactive(option: unknown, env: NodeJS.ProcessEnv): RetroactiveSettings | undefined {
  const isObject = typeof option === 'object' && option !== null && !Array.isArray(option)
  if (!isObject && !flag('retroactive', option, 'MILO_RETROACTIVE', env.MILO_RETROACTIVE)) return undefined
  // Loaded late, from a file of its own: most processes have no history.
  const { retroactiveSettings } = require('../keep') as typeof import('../keep')
  return retroactiveSettings(isObject ? option : {}, {
    bytes: number(env.MILO_RETROACTIVE_BYTES),
    triggers: unset(env.MILO_RETROACTIVE_TRIGGERS),
    lateral: number(env.MILO_RETROACTIVE_LATERAL),
  })
}

function sampler(value: unknown, tracesPerSecond: number, operations: Record<string, OperationSampling>): Sampler {
  if (value === 'adaptive') return new AdaptiveSampler({ tracesPerSecond, operations })
  if (typeof value === 'string') return samplerFrom(value)
  if (typeof value === 'object' && value !== null && typeof (value as Sampler).sample === 'function')
    return value as Sampler
  throw new MiloError('MILO_BAD_SAMPLER', `sampler must be a string or an object with sample(), got ${show(value)}`)
}

function target(value: unknown): number {
  if (isTarget(value)) return value
  throw new MiloError(
    'MILO_BAD_TARGET',
    `tracesPerSecond must be > 0, got ${show(value)}; to turn tracing off set MILO_ENABLED=0`,
  )
}

/** @throws MiloError for what isn't one */
export function propagation(value: unknown, carrier: Carrier = 'field'): BothPropagations {
  if (value !== 'field') return seldom().propagation(value, carrier)
  return {
    thrift: { default: 'field', peers: new Map() },
    http: { default: HTTP_FORMATS.w3c, peers: new Map() },
  }
}

function plugins(given: unknown): Plugin[] {
  return Array.isArray(given) && given.length === 0 ? [] : seldom().givenPlugins(given)
}

const seldom = () => require('./seldom') as typeof import('./seldom')

function exporters(value: unknown, headers: string | undefined): ExportTarget[] {
  if (value === 'scribe') return [{ kind: 'scribe', name: 'scribe' }]
  return seldom().exportTargets(value, headers)
}

function trustedCallers(value: unknown): HttpPropagation['trusts'] {
  return value === 'all' ? undefined : seldom().trustedCallers(value)
}

function baggage(value: unknown): BaggageKeys | undefined {
  return value === undefined ? undefined : seldom().baggageKeys(value)
}

function callable<F extends Function>(name: string, value: F | undefined): F | undefined {
  if (value === undefined || typeof value === 'function') return value
  throw new MiloError('MILO_BAD_OPTION', `${name} must be a function, got ${show(value)}`)
}

function statements(value: unknown): Statements {
  if (STATEMENTS.includes(value as Statements)) return value as Statements
  throw new MiloError('MILO_BAD_OPTION', `statements must be one of ${STATEMENTS.join(', ')}, got ${show(value)}`)
}

function level(value: unknown): LogLevel {
  if (LOG_LEVELS.includes(value as LogLevel)) return value as LogLevel
  throw new MiloError('MILO_BAD_LOG_LEVEL', `logLevel must be one of ${LOG_LEVELS.join(', ')}, got ${show(value)}`)
}

function whole(name: string, value: unknown, least: number, most: number): number {
  if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most) return value as number
  throw new MiloError('MILO_BAD_LIMIT', `${name} must be a whole number from ${least} to ${most}, got ${show(value)}`)
}
