import { EventType, type SpanRecord } from '../../../src/codec/span'

/** Records as tests need them: `half(client, 10n, { from: 100, to: 200 })`. Times in microseconds. */
export const client = [EventType.CLIENT_SEND, EventType.CLIENT_RECV] as const
export const server = [EventType.SERVER_RECV, EventType.SERVER_SEND] as const

interface Times extends SpanRecord {
  from?: number
  to?: number
}

export function half(side: typeof client | typeof server, id: bigint, { from, to, ...rest }: Times = {}): SpanRecord {
  const events = [
    { timestamp: BigInt(from ?? 0), eventType: side[0] },
    { timestamp: BigInt(to ?? from ?? 0), eventType: side[1] },
    ...(rest.events ?? []),
  ]
  return { traceId: 1n, id, name: `span ${id}`, ...rest, events }
}

export function local(id: bigint, { from, to, ...rest }: Times = {}): SpanRecord {
  const events = [
    { timestamp: BigInt(from ?? 0), eventType: EventType.CUSTOM, value: 'milo.start' },
    ...(rest.events ?? []),
    { timestamp: BigInt(to ?? from ?? 0), eventType: EventType.CUSTOM, value: 'milo.end' },
  ]
  return { traceId: 1n, id, name: `span ${id}`, ...rest, events }
}

export function custom(timestamp: number, value: string) {
  return { timestamp: BigInt(timestamp), eventType: EventType.CUSTOM, value }
}
