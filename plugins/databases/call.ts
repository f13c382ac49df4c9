import {
  clock,
  currentSettings,
  currentSpan,
  errorName,
  isActive,
  Kind,
  type PluginHandle,
  type Span,
  startSpan,
} from 'milo/plugin'
import { plainMessage } from './message'
import { type Dialect, readStatement } from './statement'

/** The spans of calls to databases, with the keys of OpenTelemetry's semantic conventions. */

export interface Database {
  /** db.system.name */
  system: string
  namespace: unknown
  address: unknown
  port: unknown
}

/**
 * Starts the span of a statement, named by what it does and to which table.
 * @param of is asked for the rest when the span is sampled
 * @returns undefined when it isn't sampled: little has been done then
 */
export function startStatement(statement: unknown, dialect: Dialect, of: () => Database): Span | undefined {
  const parent = currentSpan()
  if (parent !== undefined && !parent.recording) return undefined
  const text = typeof statement === 'string' ? statement : ''
  // The sampler asks for the name of a root; within a sampled trace all of the text will be needed.
  const { operation, table, text: masked } = readStatement(text, dialect, parent === undefined)
  const database = of()
  const summary = table === '' ? operation : `${operation} ${table}`
  const span = startSpan(Kind.CLIENT, summary === '' ? database.system : summary)
  if (!span.recording) return undefined
  annotateDatabase(span, database)
  if (operation !== '') span.annotate('db.operation.name', operation).annotate('db.query.summary', summary)
  const statements = currentSettings()?.statements
  if (text !== '' && statements !== 'none') {
    if (statements === 'all') span.annotate('db.query.text', text)
    else span.annotate('db.query.text', parent === undefined ? readStatement(text, dialect).text : masked)
  }
  return span
}

export function annotateDatabase(span: Span, { system, namespace, address, port }: Database): void {
  span.annotate('db.system.name', system)
  if (namespace) span.annotate('db.namespace', String(namespace))
  annotateServer(span, address, port)
}

export function annotateServer(span: Span, address: unknown, port: unknown): void {
  if (typeof address !== 'string' || address === '') return
  span.annotate('server.address', address)
  // A path is a socket of this machine's, which has no port.
  if (!address.startsWith('/') && Number(port) > 0) span.annotate('server.port', Number(port))
}

/**
 * Ends the call when its callback is called, before that runs.
 * @param end is given the result in the place of the call's own end
 */
export function endBefore(callback: Function, call: Call, end: (result: unknown) => void = () => call.end()) {
  return function (this: unknown, error: unknown, ...rest: unknown[]) {
    if (error) call.fail(error)
    else end(rest[0])
    return callback.call(this, error, ...rest)
  }
}

/**
 * Notes which statement a pool is asking a connection for, while it does.
 * @param textOf the statement of a method's first argument
 * @returns what takes the statement; undefined where none is asking, or none that may be sampled
 */
export function notedBy(
  plugin: PluginHandle,
  prototype: any,
  names: string[],
  textOf: (query: any, pool: any) => unknown,
): () => unknown {
  let asking: unknown
  for (const name of names) {
    if (!Object.hasOwn(prototype, name)) continue
    plugin.wrap(
      prototype,
      name,
      original =>
        function (this: any, ...args) {
          if (!plugin.enabled || !isActive() || currentSpan()?.recording === false) return original.apply(this, args)
          try {
            asking = textOf(args[0], this)
          } catch (error) {
            plugin.fail(error)
          }
          try {
            return original.apply(this, args)
          } finally {
            asking = undefined
          }
        },
    )
  }
  return () => {
    const statement = asking
    asking = undefined
    return statement
  }
}

/**
 * Watches how a pool's statement waits for a connection. Where it gets none, its span is made then, and begins when it was asked for;
 * a connection's statements have spans of their own.
 * @param callback of what gives a connection
 * @param of the database, by the error
 * @returns what is given in its place
 */
export function watchWait(callback: any, statement: unknown, dialect: Dialect, of: (error: any) => Database): any {
  if (typeof callback !== 'function') return callback
  const askedMs = clock.now()
  return function (this: unknown, error: unknown, ...rest: unknown[]) {
    if (error) {
      try {
        const span: ({ startUs: number } & Span) | undefined = startStatement(statement, dialect, () => of(error))
        if (span !== undefined) {
          span.startUs -= (clock.now() - askedMs) * 1000
          new Call(span, statement, dialect).fail(error)
        }
      } catch {
        // Settings of a pool that can't be read.
      }
    }
    return callback.call(this, error, ...rest)
  }
}

/** A statement that is being answered, and its span. */
export class Call {
  private readonly span: Span
  private readonly statement: unknown
  private readonly dialect: Dialect
  private readonly open: Set<Call> | undefined

  /** @param statement with literals @param open has the call until it is over */
  constructor(span: Span, statement: unknown, dialect: Dialect, open?: Set<Call>) {
    this.span = span
    this.statement = statement
    this.dialect = dialect
    this.open = open
    open?.add(this)
  }

  /** Ends it with what a database, or the library, gave in the place of a result. */
  fail(error: unknown): this {
    try {
      annotateError(this.span, error, this.statement, this.dialect)
    } catch {
      // A getter of the application's that throws.
    }
    this.end()
    return this
  }

  end(): void {
    this.open?.delete(this)
    this.span.end()
  }

  annotateServer(address: unknown, port: unknown): void {
    annotateServer(this.span, address, port)
  }
}

function annotateError(span: Span, error: any, statement: unknown, dialect: Dialect): void {
  const code = typeof error?.code === 'string' || typeof error?.code === 'number' ? String(error.code) : undefined
  span.annotate('error.type', code ?? (error instanceof Error ? errorName(error) : String(error?.name || 'error')))
  // Others than the server have codes too, such as ECONNRESET.
  const isServers = (error?.sqlState ?? error?.severity ?? (dialect === 'cql' ? code : undefined)) !== undefined
  if (isServers) span.annotate('db.response.status_code', String(error.errno ?? code))
  const isWhole = currentSettings()?.statements === 'all'
  if (!isWhole && isApplications(error)) return
  const text = textOf(error, isWhole ? undefined : String(statement ?? ''), dialect)
  if (text !== '') span.annotate('error.message', text)
}

/**
 * What an error says, with what those of its addresses or hosts say.
 * @param statement to tell names from values by: see plainMessage. Undefined where values may stay
 */
export function textOf(error: any, statement: string | undefined, dialect: Dialect): string {
  const hosts = Object.entries(error?.innerErrors ?? {})
  // cassandra-driver's message has the stack of one of them.
  if (hosts.length === 0) return ownText(error, statement, dialect)
  const told = hosts.slice(0, MAX_PARTS).map(([host, one]) => {
    const text = ownText(one, statement, dialect)
    return text.includes(host) ? text : `${host}: ${text}`
  })
  return `All hosts failed: ${told.join('; ')}${hosts.length > MAX_PARTS ? '; …' : ''}`
}

const MAX_PARTS = 10

function ownText(error: any, statement: string | undefined, dialect: Dialect): string {
  const { message = error, errors, syscall, code } = error ?? {}
  if (typeof message !== 'string') return ''
  // Node's error for a name none of whose addresses could be reached.
  if (message === '' && Array.isArray(errors)) {
    const told = errors.slice(0, MAX_PARTS).map(one => ownText(one, statement, dialect))
    return told.join('; ')
  }
  // Node's have addresses; those of a cluster's nodes, which cassandra-driver writes, have numbers of nodes.
  const hasNoValue = SYSTEM_CALLS.has(syscall) || TLS_ERROR.test(code) || (dialect === 'cql' && NODES_ERRORS.has(code))
  if (statement === undefined || hasNoValue) return message
  // PostgreSQL says by itself which names it speaks of.
  const { schema, table, column, constraint, dataType } = error
  const names = error.severity === undefined ? [] : [schema, table, column, constraint, dataType]
  return plainMessage(message, statement, dialect, names)
}

/** Codes of Node's and of OpenSSL's. */
export const TLS_ERROR = /^(?:ERR_TLS|ERR_SSL|CERT|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO)_/
/** Of Node's errors about connections. */
export const SYSTEM_CALLS = new Set(['connect', 'getaddrinfo', 'read', 'write', 'shutdown'])
/** Unavailable, and timeouts and failures of writes and reads. */
const NODES_ERRORS = new Set([0x1000, 0x1100, 0x1200, 0x1300, 0x1500])

/** Whether the message was written by the application's own code within the database: nobody can tell what of it is a value. */
function isApplications({ routine, sqlState, errno }: any): boolean {
  const isRaised = routine === 'exec_stmt_raise' || routine === 'exec_stmt_assert'
  return isRaised || sqlState === '45000' || errno === ER_SIGNAL_EXCEPTION
}

const ER_SIGNAL_EXCEPTION = 1644
