import { EventType, type SpanRecord } from '../../src/codec/span'
import type { WebCollector } from './page'
import { sendSpans } from './send'
import { until } from './until'

/** Traces that were kept after the fact, and processes with histories, as a shop's would be. */

const SECOND_US = 1e6
const idOf = (i: number) => BigInt.asUintN(63, BigInt(i + 1) * 0x9e3779b97f4a7c15n)
export const hexOf = (id: bigint) => id.toString(16).padStart(16, '0')

/** A process with a history, which asks what to keep until `end`. */
export function pollRing(
  { web }: WebCollector,
  ring: { service: string; host: string; process: number; historyUs: number; madeUs?: number },
): { end(): void } {
  const aborter = new AbortController()
  const poll = async () => {
    const { service, host, process, historyUs, madeUs = historyUs - 3600 * SECOND_US } = ring
    const query = new URLSearchParams({ since: '0', wait: '20000', service, host, process: String(process) })
    query.set('history', String(historyUs))
    query.set('made', String(madeUs))
    while (!aborter.signal.aborted) {
      const response = await fetch(`${web}/api/keeps/feed?${query}`, { signal: aborter.signal })
      query.set('since', response.headers.get('milo-next')!)
      await response.arrayBuffer()
    }
  }
  void poll().catch(() => {})
  return { end: () => aborter.abort() }
}

interface Kept {
  i: number
  startUs: number
  /** Of the span that made its process keep the trace. */
  reason: string
  name?: string
  service?: string
  /** The name of that span, if it is another one. */
  cause?: string
}

/** A trace of one span. */
export function keptTrace({ i, startUs, reason, name = 'POST /checkout', service = 'web', cause }: Kept): SpanRecord[] {
  const event = (us: number, eventType: EventType) => ({ timestamp: BigInt(Math.round(us)), eventType })
  const annotations = new Map([
    ['milo.keep', reason],
    ['milo.history', String(startUs - 60 * SECOND_US)],
  ])
  // Where its caller has kept it, the first span of it says so.
  if (cause !== undefined) annotations.set('milo.keep_span', `${'5'.padStart(16, '0')} ${cause}`)
  if (reason === 'error') annotations.set('error.type', 'CardDeclined')
  const events = [event(startUs, EventType.SERVER_RECV), event(startUs + 80_000, EventType.SERVER_SEND)]
  return [{ traceId: idOf(i), id: 1n, name, service, probability: 0, annotations, events }]
}

/** A checkout: cart fails and keeps it, and the halves of four other processes are missing, each for another reason. */
export function brokenCheckout(startUs: number): SpanRecord[] {
  const traceId = idOf(0)
  const at = (ms: number, eventType: EventType) => ({ timestamp: BigInt(Math.round(startUs + ms * 1000)), eventType })
  const common = { traceId, probability: 0 }
  const history = String(startUs - 60 * SECOND_US)
  const asked = new Map([['milo.keep', 'asked']])
  const call = (id: bigint, name: string, serverHost: string, from: number): SpanRecord => ({
    ...{ ...common, id, parentId: 1n, name, service: 'web', serverHost, annotations: asked },
    events: [at(from, EventType.CLIENT_SEND), at(from + 15, EventType.CLIENT_RECV)],
  })
  return [
    {
      ...{ ...common, id: 1n, name: 'POST /checkout', service: 'web' },
      annotations: new Map([...asked, ['milo.history', history], ['milo.left_out', '7']]),
      events: [at(0, EventType.SERVER_RECV), at(120, EventType.SERVER_SEND)],
    },
    call(2n, 'Cart.total', 'cart1', 2),
    {
      ...{ ...common, id: 2n, parentId: 1n, name: 'Cart.total', service: 'cart', serverHost: 'cart1' },
      annotations: new Map([
        ['milo.keep', 'error'],
        ['milo.history', history],
        ['error.type', 'TIMEOUT'],
        ['error.message', 'no answer within 10 ms'],
      ]),
      events: [at(3, EventType.SERVER_RECV), at(15, EventType.SERVER_SEND)],
    },
    call(3n, 'Payment.charge', 'payment1', 20),
    call(4n, 'Stock.reserve', 'stock1', 40),
    call(5n, 'Pricing.quote', 'pricing1', 60),
    call(6n, 'Mail.send', 'mail1', 80),
    {
      ...{ ...common, id: 8n, parentId: 7n, name: 'Audit.write', service: 'audit', clientHost: 'payment1' },
      annotations: asked,
      events: [at(30, EventType.SERVER_RECV), at(34, EventType.SERVER_SEND)],
    },
  ]
}

export const CHECKOUT = hexOf(idOf(0))

/** Sends what the shop has kept in the last minutes, and resolves when it can be found. @returns its processes */
export async function keptShop(collector: WebCollector): Promise<{ end(): void }[]> {
  const nowUs = Date.now() * 1000
  const startUs = nowUs - 20 * SECOND_US
  const hourAgo = nowUs - 3600 * SECOND_US
  const get = async (path: string): Promise<any> => (await fetch(collector.web + path)).json()
  const ended = pollRing(collector, { service: 'stock', host: 'stock1', process: 4, historyUs: hourAgo })
  const rings = [
    { service: 'web', host: 'web1', process: 1, historyUs: nowUs - 125 * SECOND_US },
    { service: 'web', host: 'web2', process: 2, historyUs: nowUs - 31 * SECOND_US },
    { service: 'cart', host: 'cart1', process: 3, historyUs: nowUs - 90 * SECOND_US },
    { service: 'pricing', host: 'pricing1', process: 5, historyUs: nowUs - 2 * SECOND_US },
    // Nothing was overwritten in it.
    { service: 'mail', host: 'mail1', process: 6, historyUs: hourAgo, madeUs: hourAgo },
  ].map(ring => pollRing(collector, ring))
  await until('stock is known', async () => (await get('/api/keeps')).services.length === 5)
  ended.end()
  await until('stock has ended', async () => (await get('/api/keeps')).services.length === 4)
  await sendSpans(collector.scribe, [
    ...brokenCheckout(startUs),
    ...['error', 'slow', 'slow', 'lateral', 'big order'].flatMap((reason, i) =>
      keptTrace({ i: i + 1, startUs: nowUs - (i + 2) * 9 * SECOND_US, reason }),
    ),
    ...keptTrace({ i: 9, startUs, reason: 'slow', name: 'GET /product' }),
  ])
  await until('what was kept is found', async () => (await get('/api/search?q=milo.keep=slow')).traces.length === 3)
  await until('all of it is listed', async () => (await get('/api/keeps')).caught.length === 6)
  return rings
}
