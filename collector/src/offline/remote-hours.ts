import type { IncomingMessage } from 'node:http'
import type { ExportEnd } from '../http/answers'
import { answerTo, ask, bodyOf, type Collector, printable, reasonOf } from '../http/client'
import type { HourPage, HourReader, HourSource } from '../store/store'
import { ExportError } from './destination'
import { HOUR_US } from './hours'

/** Reads hours from a running collector: GET /api/export and /api/export/collectors. */

/** A line that is longer isn't one of a collector's: of a message, which is smaller. */
const MAX_LINE_BYTES = 64 * 1024 * 1024
const MAX_ANSWER_BYTES = 4 * 1024 * 1024
const ANSWER_MS = 60_000
const NEWLINE = 0x0a

export class RemoteHours implements HourReader {
  private readonly collector: Collector

  constructor(collector: Collector) {
    this.collector = collector
  }

  async hourSources(): Promise<HourSource[]> {
    const answer = await this.ask('api/export/collectors', {}, ANSWER_MS)
    const body = await this.attempt(() => bodyOf(answer, MAX_ANSWER_BYTES))
    try {
      const { collectors } = JSON.parse(body.toString()) as { collectors: HourSource[] }
      return collectors.map(({ collector, fromUs, toUs }) => {
        if (typeof collector !== 'string' || !Number.isFinite(fromUs) || !Number.isFinite(toUs)) throw new TypeError()
        return { collector, fromUs, toUs }
      })
    } catch {
      throw new ExportError(`${this.where}: it isn't a collector that answers: ${printable(body, 80)}`)
    }
  }

  async readHour(collector: string, hourUs: number): Promise<AsyncIterable<HourPage>> {
    const [from, to] = [hourUs, hourUs + HOUR_US].map(us => new Date(us / 1000).toISOString())
    return this.pages(await this.ask('api/export', { hours: `${from}..${to}`, collector, end: 'true' }), hourUs)
  }

  private async *pages(answer: IncomingMessage, hourUs: number): AsyncGenerator<HourPage> {
    const page = (lines: Buffer): HourPage => ({ lines, records: 0, damaged: [], reachedUs: hourUs })
    /** What is behind the last newline. */
    let pieces: Buffer[] = []
    let bytes = 0
    const chunks = (answer as AsyncIterable<Buffer>)[Symbol.asyncIterator]()
    try {
      for (;;) {
        const { done, value: chunk } = await this.attempt(() => chunks.next())
        if (done) break
        const end = chunk.lastIndexOf(NEWLINE) + 1
        if (end > 0) {
          yield page(Buffer.concat([...pieces, chunk.subarray(0, end)]))
          pieces = []
          bytes = 0
        }
        pieces.push(chunk.subarray(end))
        bytes += chunk.length - end
        if (bytes > MAX_LINE_BYTES)
          throw new ExportError(`${this.where}: it answered a line of more than ${MAX_LINE_BYTES} bytes`)
      }
    } finally {
      answer.destroy()
    }
    const { records, damaged, damagedRows } = this.endOf(Buffer.concat(pieces))
    const unnamed = damagedRows - damaged.length
    if (unnamed > 0) damaged.push(`and ${unnamed} more`)
    yield { lines: Buffer.alloc(0), records, damaged, reachedUs: hourUs + HOUR_US }
  }

  /** @throws ExportError unless the answer was whole */
  private endOf(last: Buffer): ExportEnd {
    try {
      const { records, damagedRows, damaged } = JSON.parse(last.toString()) as ExportEnd
      if (Number.isSafeInteger(records) && Number.isSafeInteger(damagedRows)) {
        return { records, damagedRows, damaged: damaged.map(what => printable(what)) }
      }
    } catch {}
    throw new ExportError(`${this.where}: the answer ended before it was whole`, true)
  }

  private async ask(path: string, parameters: Record<string, string>, deadlineMs?: number): Promise<IncomingMessage> {
    const headers = { 'accept-encoding': 'identity' }
    const request = { method: 'GET', headers, ...(deadlineMs !== undefined && { deadlineMs }) }
    const asked = `${path}?${new URLSearchParams(parameters)}`
    const answer = await this.attempt(() => answerTo(ask(this.collector, asked, request).end()))
    const { statusCode: status = 0 } = answer
    if (status === 200) return answer
    const said = await bodyOf(answer, MAX_ANSWER_BYTES).then(
      body => this.errorIn(body),
      () => '',
    )
    throw new ExportError(
      `${this.where} answered ${status}: ${REMEDIES[status] ?? (said || 'nothing more')}`,
      status === 429 || status >= 500,
    )
  }

  private errorIn(body: Buffer): string {
    try {
      return printable(JSON.parse(body.toString()).error)
    } catch {
      return printable(body, 80)
    }
  }

  private async attempt<R>(work: () => Promise<R>): Promise<R> {
    try {
      return await work()
    } catch (error) {
      throw error instanceof ExportError ? error : new ExportError(`${this.where}: ${reasonOf(error)}`, true)
    }
  }

  /** The address, as it may be shown. */
  private get where(): string {
    return this.collector.url.href
  }
}

const REMEDIES: Record<number, string> = {
  401: 'give a token that may read in MILO_EXPORT_TOKEN or --token-file, as `milo-collector token` makes them',
  403: "the token may not read, or the address isn't one of http.allowed_hosts: use another",
  404: 'give the address of a collector of this version, with its base path',
}
