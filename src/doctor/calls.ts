import { carrierFor, currentSettings, HTTP_FORMATS, Kind, type LiveSpan, spanEnd, spanStart, totals } from './core'

/** Counts the calls that the application makes and answers, by what their spans say. */

export interface Peer {
  /** `Thrift` or `HTTP`. */
  over: string
  /** `host:port`, as far as it is known. */
  peer: string
  /** What the trace travels in, as MILO_PROPAGATION has it. */
  carrier: string
  calls: number
  failed: number
}

export interface Served {
  over: string
  requests: number
  failed: number
  /** How many of them were parts of traces that their callers had begun. */
  continued: number
}

/** How many peers are kept apart. */
const MAX_PEERS = 20

export class Calls {
  readonly peers = new Map<string, Peer>()
  readonly served = new Map<string, Served>()
  /** Requests whose trace began elsewhere. */
  private readonly continued = new WeakSet<object>()
  private roots = 0

  watch(): void {
    this.roots = totals.tracesKept + totals.tracesForced
    spanStart.subscribe(message => {
      // A trace is counted before its first span is made, and a caller's isn't.
      const roots = totals.tracesKept + totals.tracesForced
      const { span } = message as { span: LiveSpan }
      if (span.kind === Kind.SERVER && roots === this.roots) this.continued.add(span)
      this.roots = roots
    })
    spanEnd.subscribe(message => this.note((message as { span: LiveSpan }).span))
  }

  private note(span: LiveSpan): void {
    const read = (key: string) => {
      const at = span.annotations?.findIndex((text, i) => i % 2 === 0 && text === key) ?? -1
      return at === -1 ? undefined : span.annotations![at + 1]
    }
    const over =
      read('rpc.system') === 'thrift' ? 'Thrift' : read('http.request.method') === undefined ? undefined : 'HTTP'
    if (over === undefined || span.kind === Kind.LOCAL) return
    const failed = read('error.type') === undefined ? 0 : 1
    if (span.kind === Kind.SERVER) {
      const served = this.served.get(over) ?? { over, requests: 0, failed: 0, continued: 0 }
      this.served.set(over, served)
      served.requests++
      served.failed += failed
      if (this.continued.has(span)) served.continued++
      return
    }
    const [host, port] = [read('server.address'), read('server.port')]
    const name = host === undefined ? 'an address that is not known' : port === undefined ? host : `${host}:${port}`
    const key = this.peers.size < MAX_PEERS || this.peers.has(`${over} ${name}`) ? name : 'others'
    const peer = this.peers.get(`${over} ${key}`) ?? {
      over,
      peer: key,
      carrier: carrier(over, host, port),
      calls: 0,
      failed: 0,
    }
    this.peers.set(`${over} ${key}`, peer)
    peer.calls++
    peer.failed += failed
  }
}

function carrier(over: string, host: string | undefined, port: string | undefined): string {
  const { propagation, http } = currentSettings()!
  if (over === 'Thrift') return carrierFor(propagation, host, port)
  const formats = carrierFor(http.formats, host, port)
  const names = Object.entries(HTTP_FORMATS).filter(([, bit]) => (formats & bit) !== 0)
  return names.length === 0 ? 'off' : names.map(([name]) => name).join('+')
}
