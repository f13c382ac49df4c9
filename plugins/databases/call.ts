import { currentSettings, currentSpan, Kind, type Span, startSpan } from 'milo/plugin'
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
  span.annotate('error.type', code ?? (error?.name ? String(error.name) : 'error'))
  // Others than the server have codes too, such as ECONNRESET.
  const isServers = (error?.sqlState ?? error?.severity ?? (dialect === 'cql' ? code : undefined)) !== undefined
  if (isServers) span.annotate('db.response.status_code', String(error.errno ?? code))
  const { message } = error ?? {}
  if (typeof message !== 'string' || message === '') return
  const isWhole = currentSettings()?.statements === 'all'
  if (!isWhole && isApplications(error)) return
  span.annotate('error.message', isWhole ? message : plainMessage(message, String(statement ?? ''), dialect))
}

/** Whether the message was written by the application's own code within the database: nobody can tell what of it is a value. */
function isApplications({ routine, sqlState, errno }: any): boolean {
  const isRaised = routine === 'exec_stmt_raise' || routine === 'exec_stmt_assert'
  return isRaised || sqlState === '45000' || errno === ER_SIGNAL_EXCEPTION
}

const ER_SIGNAL_EXCEPTION = 1644

/**
 * A database's message up to the first value in it: servers repeat literals and parameters. What it has in quotes is kept where the
 * statement has it as a name.
 */
export function plainMessage(message: string, statement: string, dialect: Dialect): string {
  const known = new Set(readStatement(statement, dialect).text.match(/[\w$\u0080-\uffff]+/g))
  for (const part of message.matchAll(PART)) {
    if (part[2] === undefined || !known.has(part[2].split('.').pop()!)) return `${message.slice(0, part.index)}…`
  }
  return message
}

/** A name in quotes, or where a value may begin. */
const PART = /(['"`])([\w$.\u0080-\uffff]{1,100})\1|[([{<'"`]|\d{5}|[^\s@]@[^\s@]/g
