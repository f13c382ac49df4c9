import type { Socket } from 'node:net'
import type { TlsOptions } from 'node:tls'
import { gunzipSync } from 'node:zlib'
import { OTLP_TYPES } from '../../collector/src/formats/otlp/schema'
import { Peer } from './peer'

export interface Request {
  line: string
  /** By names in lower case. */
  headers: Record<string, string>
  body: Buffer
}

/**
 * A server for HTTP that keeps the requests it is sent, and answers with whatever bytes it is told: also what no library for HTTP
 * would send. The tests with the OpenTelemetry Collector's receiver, zipkin-server and Milo's own collector are the proof that
 * real ones understand the requests.
 */
export class HttpPeer extends Peer {
  readonly requests: Request[] = []
  /** The bytes of an answer, or what to do on the socket. */
  react: (request: Request, socket: Socket) => string | Buffer | undefined = () => ok()

  static listen(port?: number, tls?: TlsOptions): Promise<HttpPeer> {
    return new HttpPeer(tls).open(port)
  }

  get url(): string {
    return `http://${this.address}`
  }

  /** The spans of all requests, by the collector's own table of OTLP's fields. */
  get spans(): any[] {
    return this.requests.flatMap(request => otlpSpans(request.body))
  }

  /** The names of the spans in Zipkin's lists. */
  get zipkinSpans(): any[] {
    return this.requests.flatMap(request => JSON.parse(request.body.toString()))
  }

  protected override serve(socket: Socket): void {
    let bytes = Buffer.alloc(0)
    socket.on('data', data => {
      bytes = Buffer.concat([bytes, data])
      for (;;) {
        const end = bytes.indexOf('\r\n\r\n')
        if (end === -1) return
        const [line, ...lines] = bytes.toString('latin1', 0, end).split('\r\n')
        const headers = Object.fromEntries(
          lines.map(one => [one.slice(0, one.indexOf(':')).toLowerCase(), one.slice(one.indexOf(':') + 1).trim()]),
        )
        const whole = end + 4 + Number(headers['content-length'])
        if (bytes.length < whole) return
        const sent = Buffer.from(bytes.subarray(end + 4, whole))
        const body = headers['content-encoding'] === 'gzip' ? gunzipSync(sent) : sent
        const request = { line: line!, headers, body }
        bytes = bytes.subarray(whole)
        this.requests.push(request)
        const answer = this.react(request, socket)
        if (answer !== undefined) socket.write(answer)
      }
    })
  }
}

/** An answer with a body. */
export function reply(status: number | string, body: string | Buffer = '', ...headers: string[]): Buffer {
  const head = [`HTTP/1.1 ${status}`, ...headers, `content-length: ${Buffer.byteLength(body)}`]
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'), Buffer.from(body as string)])
}

export function ok(): Buffer {
  return reply('200 OK', '', 'content-type: application/x-protobuf')
}

/** The resource, scope and spans of a request in OTLP's protobuf; 64-bit numbers as strings, bytes in hex. */
export function readOtlp(body: Buffer): any {
  const type = OTLP_TYPES.ExportTraceServiceRequest
  const plain = type.toObject(type.decode(body), { longs: String })
  return JSON.parse(JSON.stringify(plain), (_key, value) =>
    value?.type === 'Buffer' ? Buffer.from(value.data).toString('hex') : value,
  )
}

export function otlpSpans(body: Buffer): any[] {
  return readOtlp(body).resourceSpans.flatMap((resource: any) =>
    resource.scopeSpans.flatMap((scope: any) => scope.spans),
  )
}

/** Attributes as an object of their values. */
export function plainAttributes(attributes: any[] = []): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, plainValue(value)]))
}

function plainValue(value: any): unknown {
  if (value?.arrayValue !== undefined) return (value.arrayValue.values ?? []).map(plainValue)
  if (value?.kvlistValue !== undefined) return plainAttributes(value.kvlistValue.values)
  if (value?.intValue !== undefined) return Number(value.intValue)
  return Object.values(value ?? {})[0]
}
