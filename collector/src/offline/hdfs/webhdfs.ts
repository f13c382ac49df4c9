import type { ClientRequest, IncomingMessage } from 'node:http'
import { Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { answerTo, bodyOf, printable, reasonOf, start } from '../../http/client'
import { ExportError } from '../destination'
import type { HdfsAddress } from './address'

/**
 * WebHDFS, HDFS over HTTP (hadoop.apache.org/docs/stable, WebHDFS REST API):
 *
 *     us                      namenode                       datanode
 *      │ PUT …?op=CREATE         │                              │
 *      ├────────────────────────▶│                              │
 *      │ 307, Location           │                              │
 *      │◀────────────────────────┤                              │
 *      │ PUT Location, the bytes                                │
 *      ├───────────────────────────────────────────────────────▶│
 *      │ 201                                                    │
 *      │◀───────────────────────────────────────────────────────┤
 *
 * Neither is believed: answers are bounded, and a namenode may redirect once, to http or https. A token is a part of addresses, so
 * messages name an operation and a path in their place.
 */

/** How long an answer may take that isn't the contents of a large file. */
const ANSWER_MS = 60_000
const MAX_ANSWER_BYTES = 256 * 1024
const MAX_LOCATION_LENGTH = 16 * 1024
/** How often all namenodes are asked in turn while none can answer, and how long it waits in between: about half a minute in all. */
const MAX_ROUNDS = 7
const RETRY_MS = 500
/** The wait doubles up to so many times the first one. */
const LONGEST_WAIT = 16

export interface WebHdfsOptions extends Pick<HdfsAddress, 'namenodes'> {
  user?: string | undefined
  /** A delegation token. It is sent in the user's place, and never shown. */
  token?: string | undefined
  retryMs?: number
}

interface Operation {
  method: 'GET' | 'PUT' | 'DELETE'
  op: string
  path: string
  parameters?: Record<string, string>
  /** Undefined for operations that a namenode answers by itself; otherwise it redirects. */
  redirects?: true
  /** Whether it isn't worth waiting for. */
  once?: true
}

/** What a server says is wrong. */
interface RemoteException {
  exception: string
  message: string
}

/** An answer to an operation: what is asked for, or a redirect. */
interface Answered {
  status: number
  location: URL | undefined
  json: unknown
}

/** Another namenode, or the same one later, may do what this one can't. */
class Unable extends Error {
  /** Whether this one says that another is active. */
  readonly standby: boolean
  constructor(message: string, standby = false) {
    super(message)
    this.standby = standby
  }
}

export class WebHdfs {
  private readonly options: WebHdfsOptions
  private current = 0

  constructor(options: WebHdfsOptions) {
    this.options = options
  }

  /** Returns a file's length; undefined if there is none. @throws ExportError for a folder */
  async length(path: string): Promise<number | undefined> {
    const answered = await this.ask({ method: 'GET', op: 'GETFILESTATUS', path })
    if (answered === undefined) return undefined
    const { type, length } = (answered.json as { FileStatus?: { type?: unknown; length?: unknown } }).FileStatus ?? {}
    if (type === 'DIRECTORY') throw new ExportError(`${path} is a folder of HDFS: remove it, or give --to another one`)
    if (!Number.isSafeInteger(length)) throw this.strange('GETFILESTATUS', path)
    return length as number
  }

  /** Makes a folder and those above it. */
  async makeFolder(path: string): Promise<void> {
    const parameters = { permission: '750' }
    if (!(await this.isTrue({ method: 'PUT', op: 'MKDIRS', path, parameters }))) {
      throw new ExportError(`HDFS doesn't make the folder ${path}: see the namenode's log`)
    }
  }

  /** Reads a small file; undefined if there is none. */
  async read(path: string, maxBytes: number): Promise<Buffer | undefined> {
    const answered = await this.ask({ method: 'GET', op: 'OPEN', path, redirects: true })
    if (answered === undefined) return undefined
    const { location } = answered
    try {
      const answer = await answerTo(start(location!, { method: 'GET', deadlineMs: ANSWER_MS }).end())
      if (answer.statusCode !== 200) throw refused('OPEN', path, answer.statusCode, await exceptionIn(answer))
      return await bodyOf(answer, maxBytes)
    } catch (error) {
      throw atDatanode(location!, error)
    }
  }

  /** Begins a file; another one of that name is replaced. What is returned has finished when HDFS has all of it. */
  async create(path: string): Promise<Upload> {
    const parameters = { overwrite: 'true', permission: '640' }
    const answered = await this.ask({ method: 'PUT', op: 'CREATE', path, parameters, redirects: true })
    return new Upload(answered!.location!, path)
  }

  /** @returns false if there is a file of the new name, or none of the old one */
  rename(from: string, to: string): Promise<boolean> {
    return this.isTrue({ method: 'PUT', op: 'RENAME', path: from, parameters: { destination: to } })
  }

  /** @param once whether to give up when HDFS doesn't answer at once @returns whether there was such a file */
  delete(path: string, once?: true): Promise<boolean> {
    return this.isTrue({ method: 'DELETE', op: 'DELETE', path, ...(once && { once }) })
  }

  private async isTrue(operation: Operation): Promise<boolean> {
    const answered = await this.ask(operation)
    const { boolean } = (answered?.json ?? { boolean: false }) as { boolean?: unknown }
    if (typeof boolean !== 'boolean') throw this.strange(operation.op, operation.path)
    return boolean
  }

  /**
   * Asks the namenode that answered last, then the others, and again after a while, for as long as none of them can answer.
   * @returns undefined if there is no such file
   */
  private async ask(operation: Operation): Promise<Answered | undefined> {
    const { namenodes, retryMs = RETRY_MS } = this.options
    let reason = ''
    for (let round = 0; round < (operation.once ? 1 : MAX_ROUNDS); round++) {
      if (round > 0) await sleep(retryMs * Math.min(2 ** (round - 1), LONGEST_WAIT))
      for (let i = 0; i < namenodes.length; i++) {
        const namenode = namenodes[this.current]!
        try {
          return await this.askOne(namenode, operation)
        } catch (error) {
          if (!(error instanceof Unable)) throw error
          // What another one says is more than that this one is on standby.
          if (reason === '' || !error.standby) reason = `${namenode}: ${error.message}`
          this.current = (this.current + 1) % namenodes.length
        }
      }
    }
    throw new ExportError(`HDFS doesn't answer (${operation.op}): ${reason}`, true)
  }

  private async askOne(namenode: string, operation: Operation): Promise<Answered | undefined> {
    const { method, op, path, redirects } = operation
    const url = this.address(namenode, operation)
    let answer: IncomingMessage
    let body: Buffer
    try {
      answer = await answerTo(start(url, { method, deadlineMs: ANSWER_MS }).end())
      body = await bodyOf(answer, MAX_ANSWER_BYTES)
    } catch (error) {
      throw new Unable(connectionProblem(error))
    }
    const { statusCode: status = 0, headers } = answer
    const json = jsonOf(body)
    if (redirects && status === 307) return { status, json, location: redirectOf(headers.location, url) }
    if (!redirects && status === 200 && json !== undefined) return { status, json, location: undefined }
    const exception = exceptionOf(json)
    if (exception?.exception === 'FileNotFoundException') return undefined
    if (exception === undefined) {
      if (status >= 500) throw new Unable(`it answers ${status}: ${printable(body, 100)}`)
      throw refused(op, path, status, printable(body, 100), namenode)
    }
    if (exception.exception === 'StandbyException')
      throw new Unable('it is on standby: name all namenodes in --to', true)
    if (/^(Retriable|SafeMode)Exception$/.test(exception.exception)) throw new Unable(exception.message)
    throw refused(op, path, status, exception, namenode)
  }

  private address(namenode: string, { op, path, parameters }: Operation): URL {
    const { user, token } = this.options
    const url = new URL(`${namenode}/webhdfs/v1${path.split('/').map(encodeURIComponent).join('/')}`)
    const all = { op, ...parameters, ...(token !== undefined ? { delegation: token } : user && { 'user.name': user }) }
    for (const [name, value] of Object.entries(all)) url.searchParams.set(name, value)
    return url
  }

  private strange(op: string, path: string): ExportError {
    const remedy = 'give the web port of a namenode (dfs.namenode.http-address)'
    return new ExportError(`${this.options.namenodes[this.current]} has no good answer to ${op} of ${path}: ${remedy}`)
  }
}

/** The body of CREATE's second request. */
class Upload extends Writable {
  private readonly request: ClientRequest
  private readonly location: URL
  private drained: (() => void) | undefined
  private answered: Promise<void>
  bytes = 0

  constructor(location: URL, path: string) {
    super({ decodeStrings: true })
    this.location = location
    const headers = { 'content-type': 'application/octet-stream' }
    this.request = start(location, { method: 'PUT', headers })
    this.request.on('drain', () => {
      const { drained } = this
      this.drained = undefined
      drained?.()
    })
    this.answered = this.answer(path)
    // Where it is refused before it has ended, nobody may be waiting.
    this.answered.catch(error => this.destroy(error))
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.bytes += chunk.length
    if (this.request.write(chunk)) done()
    else this.drained = done
  }

  override _final(done: (error?: Error | null) => void): void {
    this.request.end()
    this.answered.then(() => done(), done)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.request.destroy()
    done(error)
  }

  private async answer(path: string): Promise<void> {
    try {
      const answer = await answerTo(this.request)
      const { statusCode: status } = answer
      const exception = await exceptionIn(answer)
      if (status !== 201) throw refused('CREATE', path, status, exception)
      if (!this.request.writableEnded) throw new Error('it said that it had the file before it had all of it')
    } catch (error) {
      throw atDatanode(this.location, error)
    }
  }
}

/** @throws ExportError for a redirect that no HDFS would make */
function redirectOf(location: string | undefined, from: URL): URL {
  const refuse = (what: string) => new ExportError(`${from.origin} redirects ${what}: it isn't a namenode`)
  if (location === undefined || location.length > MAX_LOCATION_LENGTH || !URL.canParse(location, from.href)) {
    throw refuse('to no address')
  }
  const url = new URL(location, from)
  if (!/^https?:$/.test(url.protocol)) throw refuse(`to ${printable(url.protocol, 20)}`)
  if (from.protocol === 'https:' && url.protocol !== 'https:')
    throw refuse(`from https to http: set dfs.http.policy to HTTPS_ONLY`)
  if (url.username !== '' || url.password !== '' || !url.pathname.startsWith('/webhdfs/v1/')) {
    throw refuse("to something else than a datanode's WebHDFS")
  }
  return url
}

function connectionProblem(error: unknown): string {
  const reason = reasonOf(error)
  const { code = '' } = error as NodeJS.ErrnoException
  if (code === 'ENOTFOUND') {
    return `${reason}: of a cluster with several namenodes name each of them: webhdfs://NAMENODE1:9870,NAMENODE2:9870/folder`
  }
  if (code === 'ECONNREFUSED') return `${reason}: give the namenode's web port, by webhdfs://NAMENODE:PORT/folder`
  return reason
}

/** Explains an error of a transfer to or from a datanode. */
function atDatanode({ origin }: URL, error: unknown): ExportError {
  if (error instanceof ExportError) return error
  const remedy = "if it can't be reached from here, use an HttpFS gateway: webhdfs://GATEWAY:14000/folder"
  return new ExportError(`the datanode ${origin}: ${reasonOf(error)}; ${remedy}`, true)
}

/** Makes the error for an operation that a server refuses. */
function refused(
  op: string,
  path: string,
  status = 0,
  said: RemoteException | string,
  where = 'the datanode',
): ExportError {
  const { exception, message } = typeof said === 'string' ? { exception: '', message: said } : said
  const [, remedy] = REMEDIES.find(([pattern]) => pattern.test(`${status} ${exception} ${message}`)) ?? []
  const what = [exception, message].filter(part => part !== '').join(': ')
  const passing = /could only be |find datanode|NotReplicatedYet|LeaseExpired/.test(what)
  return new ExportError(
    `${where} refuses ${op} of ${path} (${status}${what && `, ${what}`})${remedy === undefined ? '' : `: ${remedy}`}`,
    passing,
  )
}

const REMEDIES: [RegExp, string][] = [
  [
    /InvalidToken|token .*(expired|can't be found)/i,
    'get a new delegation token, by op=GETDELEGATIONTOKEN, and set MILO_HDFS_TOKEN',
  ],
  [
    /^401|Authentication|SecurityException/,
    'this cluster asks who you are: get a delegation token (curl --negotiate -u : NAMENODE/webhdfs/v1/?op=GETDELEGATIONTOKEN) and set MILO_HDFS_TOKEN',
  ],
  [
    /AccessControlException/,
    'the user may not write there: set HADOOP_USER_NAME, or have the folder made for this user (hdfs dfs -mkdir, -chown)',
  ],
  [/Quota/, 'raise its quota (hdfs dfsadmin), or remove older files'],
  [/could only be |find datanode/, 'no datanode has room, or none is up: see hdfs dfsadmin -report'],
  [/ParentNotDirectory|FileAlreadyExists/, 'a file is in the way of the folder: remove it, or give --to another one'],
  [
    /Hadoop IPC port/,
    "that is the port of Hadoop's own protocol: give the web port, by webhdfs://NAMENODE:9870/folder",
  ],
  [
    /^(200|30\d|404|405) /,
    'give the web port of a namenode or of HttpFS, on which WebHDFS is on (dfs.webhdfs.enabled)',
  ],
]

async function exceptionIn(answer: IncomingMessage): Promise<RemoteException | string> {
  const body = await bodyOf(answer, MAX_ANSWER_BYTES)
  return exceptionOf(jsonOf(body)) ?? printable(body, 100)
}

function jsonOf(body: Buffer): unknown {
  try {
    const json = JSON.parse(body.toString())
    return typeof json === 'object' && json !== null ? json : undefined
  } catch {
    return undefined
  }
}

function exceptionOf(json: unknown): RemoteException | undefined {
  const { RemoteException: told } = (json ?? {}) as { RemoteException?: { exception?: unknown; message?: unknown } }
  if (typeof told?.exception !== 'string') return undefined
  return { exception: printable(told.exception, 80), message: printable(told.message ?? '') }
}
