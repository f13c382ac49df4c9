import { EventType, type SpanRecord } from '../../src/codec/span'
import { seeded } from './seeded'

/**
 * A trace as large as one likes, always the same for the same arguments: a checkout of a shop whose services call each other,
 * with both halves of each call, local work, errors, annotations and events.
 */
export interface GeneratedTrace {
  traceId: bigint
  spans: number
  startUs: number
  /** How far the clock of each service but the first is off; 0 when left out. */
  skewUs?: number
  /** How long it takes; as long as it needs when left out. */
  lengthUs?: number
}

interface Call {
  id: bigint
  parentId: bigint
  /** Both index SERVICES. */
  caller: number
  service: number
  method: number
  /** Microseconds from the trace's start. */
  from: number
  to: number
  level: number
}

const SERVICES = ['web', 'cart', 'inventory', 'pricing', 'orders', 'mail', 'users']
const METHODS = ['get', 'list', 'reserve', 'quote', 'place', 'send', 'check', 'load']

export function generateTrace({ traceId, spans, startUs, skewUs = 0, lengthUs }: GeneratedTrace): SpanRecord[] {
  const random = seeded(Number(BigInt.asUintN(31, traceId)) + spans)
  const records: SpanRecord[] = []
  let made = 0
  const queue: Call[] = []
  // A root that is long enough for all: a span gets at least some microseconds.
  const length = lengthUs ?? Math.max(80_000, spans * 40)
  queue.push({ id: 1n, parentId: 0n, caller: 0, service: 0, method: 0, from: 0, to: length, level: 0 })
  made = 1
  for (let at = 0; at < queue.length; at++) {
    const { id, parentId, caller, method, from, to, level } = queue[at]!
    const local = level > 0 && random() < 0.15
    // Local work stays where it is.
    const service = local ? caller : queue[at]!.service
    const name = level === 0 ? 'POST /checkout' : `${capital(SERVICES[service]!)}.${METHODS[method]}`
    const failed = level > 0 && random() < 0.004
    const time = (us: number, skewed: boolean) => BigInt(Math.round(startUs + us + (skewed ? skewUs : 0)))
    const fields = { traceId, id, parentId, name, probability: 1 }
    const own: SpanRecord = {
      ...fields,
      service: SERVICES[service]!,
      serverHost: `10.0.0.${service + 1}`,
      annotations: new Map([
        ['user', String(Number(id) % 100)],
        ['region', service % 2 === 0 ? 'eu-north' : 'eu-west'],
        ...(failed ? [['error.type', 'TIMEOUT'] as const] : []),
      ]),
    }
    const gap = (to - from) * 0.04
    const off = service !== 0
    if (local) {
      own.events = [
        { timestamp: time(from, off), eventType: EventType.CUSTOM, value: 'milo.start' },
        { timestamp: time(to, off), eventType: EventType.CUSTOM, value: 'milo.end' },
      ]
    } else {
      own.events = [
        { timestamp: time(from + gap, off), eventType: EventType.SERVER_RECV },
        ...(random() < 0.2
          ? [{ timestamp: time(from + 2 * gap, off), eventType: EventType.CUSTOM, value: 'cache miss' }]
          : []),
        { timestamp: time(to - gap, off), eventType: EventType.SERVER_SEND },
      ]
      if (level > 0) {
        records.push({
          ...fields,
          service: SERVICES[caller]!,
          clientHost: `10.0.0.${caller + 1}`,
          events: [
            { timestamp: time(from, caller !== 0), eventType: EventType.CLIENT_SEND },
            { timestamp: time(to, caller !== 0), eventType: EventType.CLIENT_RECV },
          ],
        })
      }
    }
    records.push(own)
    const children = level === 0 ? Math.min(spans, 12) : 1 + Math.floor(random() * (level > 12 ? 2 : 5))
    // One after the other, with some side by side.
    const room = (to - from - 4 * gap) / children
    for (let c = 0; c < children && made < spans; c++) {
      const start = from + 2 * gap + c * room
      const callee = (service + 1 + (c % 2)) % SERVICES.length
      const end = start + room * (random() < 0.3 ? 1.4 : 0.5 + random() * 0.45)
      queue.push({
        id: BigInt(++made),
        parentId: id,
        caller: service,
        // Each method calls two others, as programs do.
        service: callee,
        method: (callee * 3 + (c % 2)) % METHODS.length,
        from: start,
        to: Math.min(end, to - 2 * gap),
        level: level + 1,
      })
    }
  }
  return records
}

function capital(text: string): string {
  return text[0]!.toUpperCase() + text.slice(1)
}
