import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { type Collector, startCollector } from '../../collector/src/collector'
import { type Config, loadConfig } from '../../collector/src/config'
import type { Logger } from '../../collector/src/log'
import { MessageType, Reader, T, Writer, writeMessageBegin } from '../../src/codec/binary'
import { CATEGORY } from '../../src/codec/scribe'
import { EventType, encodeRecord, type SpanRecord } from '../../src/codec/span'

export const cleanUp: (() => unknown)[] = []

/** Undoes, last first, what the tests of a file have started. */
export async function undo(): Promise<void> {
  while (cleanUp.length > 0) await cleanUp.pop()!()
}

export function temporaryDirectory(): string {
  const dir = mkdtempSync(join(tmpdir(), 'milo-'))
  cleanUp.push(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** What was logged, as objects. */
export function recordingLog(): { log: Logger; lines: Record<string, any>[] } {
  const lines: Record<string, any>[] = []
  return { log: pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line)) }), lines }
}

export interface TestCollector extends Collector {
  config: Config
  lines: Record<string, any>[]
  url: string
  get(path: string): Promise<{ status: number; body: any }>
  /** A metric of /metrics by its name without prefix: the sum of those with the labels; 0 when there is none. */
  metric(name: string): Promise<number>
}

/** A whole collector in this process: real sockets on free ports, and the real embedded store in a directory of its own. */
export async function collector(overrides: Partial<Config> = {}, uiDir = '/nonexistent'): Promise<TestCollector> {
  const { config } = loadConfig(undefined, {
    MILO_COLLECTOR_PORT: '0',
    MILO_COLLECTOR_HTTP_PORT: '0',
    MILO_COLLECTOR_EMBEDDED_PATH: join(temporaryDirectory(), 'milo.db'),
  })
  const { log, lines } = recordingLog()
  const whole = { ...config, ...overrides }
  const started = await startCollector(whole, log, uiDir)
  let closed: Promise<void> | undefined
  const close = () => (closed ??= started.close())
  cleanUp.push(close)
  const url = `http://127.0.0.1:${started.httpPort}`
  const get = async (path: string) => {
    const response = await fetch(url + path)
    return { status: response.status, body: await response.json() }
  }
  const metric = async (wanted: string) => {
    const [, name, labels = ''] = /^(\w+)(?:\{(.*)\})?$/.exec(wanted)!
    const text = await (await fetch(`${url}/metrics`)).text()
    let sum = 0
    for (const [, theirs = '', value] of text.matchAll(
      new RegExp(`^milo_(?:collector_)?${name}(?:{(.*)})? (.*)$`, 'gm'),
    )) {
      if (theirs.includes(labels)) sum += Number(value)
    }
    return sum
  }
  return { ...started, config: whole, close, lines, url, get, metric }
}

/** One connection that sends frames and takes what comes back. */
export class Peer {
  readonly socket: Socket
  /** Resolves when the collector has closed the connection. */
  readonly closed: Promise<void>
  private waiting: { resolve(frame: Buffer): void; reject(error: Error): void }[] = []
  private received = Buffer.alloc(0)
  /** Frames that came without anybody waiting. */
  readonly unclaimed: Buffer[] = []

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1')
    this.socket.on('error', () => {})
    this.socket.on('data', chunk => this.take(chunk))
    this.closed = new Promise(resolve => {
      this.socket.on('close', () => {
        for (const { reject } of this.waiting.splice(0)) reject(new Error('connection closed'))
        resolve()
      })
    })
    cleanUp.push(() => this.socket.destroy())
  }

  private take(chunk: Buffer): void {
    this.received = Buffer.concat([this.received, chunk])
    while (this.received.length >= 4) {
      const end = 4 + this.received.readInt32BE(0)
      if (this.received.length < end) return
      const frame = this.received.subarray(0, end)
      this.received = this.received.subarray(end)
      const next = this.waiting.shift()
      if (next) next.resolve(frame)
      else this.unclaimed.push(frame)
    }
  }

  send(bytes: Buffer): void {
    this.socket.write(bytes)
  }

  /** The next frame that comes back, its length included. */
  reply(): Promise<Buffer> {
    const ready = this.unclaimed.shift()
    if (ready) return Promise.resolve(ready)
    if (this.socket.destroyed) return Promise.reject(new Error('connection closed'))
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }))
  }

  call(bytes: Buffer): Promise<Buffer> {
    this.send(bytes)
    return this.reply()
  }

  /** Sends spans (or ready messages) in one call; resolves with the result code. */
  async log(...messages: (SpanRecord | Buffer)[]): Promise<number> {
    return resultCode(await this.call(logFrame(messages)))
  }
}

export function frame(message: Buffer): Buffer {
  const head = Buffer.alloc(4)
  head.writeInt32BE(message.length)
  return Buffer.concat([head, message])
}

export interface CallOptions {
  strict?: boolean
  seqid?: number
  type?: number
  category?: string
}

/** A framed call with the arguments that `args` puts (STOP included). */
export function callFrame(name: string, options: CallOptions = {}, args: (w: Writer) => void = w => w.byte(T.STOP)) {
  const { strict = true, seqid = 1, type = MessageType.CALL } = options
  const w = new Writer()
  writeMessageBegin(w, { strict, type, name, seqid })
  args(w)
  return frame(w.take())
}

export function logFrame(messages: (SpanRecord | Buffer)[], options: CallOptions = {}): Buffer {
  return callFrame('Log', options, w => putLogArgs(w, messages, options.category))
}

export function putLogArgs(w: Writer, messages: (SpanRecord | Buffer)[], category = CATEGORY): void {
  w.field(T.LIST, 1)
  w.byte(T.STRUCT)
  w.i32(messages.length)
  for (const message of messages) {
    w.field(T.STRING, 1)
    w.string(category)
    w.field(T.STRING, 2)
    w.bytes(Buffer.isBuffer(message) ? message : encodeRecord(message))
    w.byte(T.STOP)
  }
  w.byte(T.STOP)
}

export interface Reply {
  strict: boolean
  type: number
  name: string
  seqid: number
  /** Field 0's value (of a REPLY), or the TApplicationException's fields. */
  value?: unknown
  message?: string
  exceptionType?: number
}

export function readReply(bytes: Buffer): Reply {
  const reader = new Reader(bytes.subarray(4))
  const reply: Reply = reader.messageBegin()
  for (;;) {
    const type = reader.byte()
    if (type === T.STOP) return reply
    const id = reader.i16()
    if (reply.type === MessageType.REPLY && id === 0) reply.value = readValue(reader, type)
    else if (id === 1) reply.message = reader.string()
    else if (id === 2) reply.exceptionType = reader.i32()
    else throw new Error(`unexpected field ${id}`)
  }
}

function readValue(reader: Reader, type: number): unknown {
  if (type === T.I32) return reader.i32()
  if (type === T.I64) return reader.i64()
  if (type === T.STRING) return reader.string()
  if (type !== T.MAP) throw new Error(`unexpected type ${type}`)
  const [keyType, valueType] = [reader.byte(), reader.byte()]
  const map = new Map<unknown, unknown>()
  for (let n = reader.i32(); n > 0; n--) map.set(readValue(reader, keyType), readValue(reader, valueType))
  return map
}

export function resultCode(bytes: Buffer): number {
  const { type, name, value } = readReply(bytes)
  if (type !== MessageType.REPLY || name !== 'Log') throw new Error(`no reply to Log: ${bytes.toString('hex')}`)
  return value as number
}

export function randomId(): bigint {
  return randomBytes(8).readBigInt64BE() & 0x7fffffffffffffffn
}

export function hex(id: bigint): string {
  return BigInt.asUintN(64, id).toString(16).padStart(16, '0')
}

/** A server half-span of 1 ms with ids of its own. */
export function span(fields: SpanRecord = {}): SpanRecord & { traceId: bigint; id: bigint } {
  const startUs = 1_700_000_000_000_000n
  return {
    traceId: randomId(),
    name: 'Shop.order',
    id: randomId(),
    parentId: 0n,
    events: [
      { timestamp: startUs, eventType: EventType.SERVER_RECV },
      { timestamp: startUs + 1000n, eventType: EventType.SERVER_SEND },
    ],
    service: 'shop',
    ...fields,
  }
}
