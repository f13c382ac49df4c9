import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { type FastifyInstance, fastify } from 'fastify'
import pino from 'pino'
import { type HttpSpansOptions, takeSpans } from '../../../collector/src/receive/http'
import type { SpanRecord } from '../../../src/codec/span'
import { recordsIn } from '../../helpers/records'

export const JSON_TYPE = 'application/json'
export const PROTOBUF_TYPE = 'application/x-protobuf'

export interface Answer {
  status: number
  headers: Headers
  bytes: Buffer
  json: any
}

/** The routes for spans over HTTP on a real socket, with a store in memory. */
export class SpanServer {
  readonly records: SpanRecord[] = []
  /** The sizes of what was stored at once. */
  readonly pieces: number[] = []
  readonly rejected: [string, string, number][] = []
  /** As format, field, reason and how often. */
  readonly leftOut: [string, string, string, number][] = []
  /** What the store says. */
  answer: 'ok' | 'try later' = 'ok'
  /** What the store waits for. */
  wait: Promise<void> | undefined
  private readonly app: FastifyInstance = fastify()

  static async start(options: Partial<HttpSpansOptions> = {}): Promise<SpanServer> {
    const server = new SpanServer()
    server.app.register(takeSpans, {
      store: (records, spans) => server.store(records, spans),
      rejected: (...args) => server.rejected.push(args),
      leftOut: (_source, { format, field, reason, count }) => server.leftOut.push([format, field, reason, count]),
      maxBodyBytes: 16 << 20,
      maxInFlightBytes: 64 << 20,
      log: pino({ level: 'silent' }),
      ...options,
    } satisfies HttpSpansOptions)
    await server.app.listen({ host: '127.0.0.1', port: 0 })
    return server
  }

  get url(): string {
    return `http://127.0.0.1:${(this.app.server.address() as AddressInfo).port}`
  }

  private async store(records: Buffer, spans: number): Promise<'ok' | 'try later'> {
    await this.wait
    if (this.answer !== 'ok') return this.answer
    const come = recordsIn(records)
    this.records.push(...come)
    assert.equal(come.length, spans)
    this.pieces.push(records.length)
    return 'ok'
  }

  async post(path: string, body: Uint8Array | string, headers: Record<string, string> = {}): Promise<Answer> {
    const response = await fetch(this.url + path, {
      method: 'POST',
      body: body as BodyInit,
      headers: { 'content-type': typeof body === 'string' ? JSON_TYPE : PROTOBUF_TYPE, ...headers },
    })
    const bytes = Buffer.from(await response.arrayBuffer())
    const isJson = response.headers.get('content-type')?.startsWith(JSON_TYPE)
    const json = isJson ? JSON.parse(bytes.toString()) : undefined
    return { status: response.status, headers: response.headers, bytes, json }
  }

  close(): Promise<void> {
    this.app.server.closeAllConnections()
    return this.app.close()
  }
}
