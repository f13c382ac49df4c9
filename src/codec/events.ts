/**
 * What the events of a record mean, for all that read or write records. It imports nothing: the web interface reads records
 * too.
 */

export const EventType = { CLIENT_SEND: 1, CLIENT_RECV: 2, SERVER_SEND: 3, SERVER_RECV: 4, CUSTOM: 5 } as const
export type EventType = (typeof EventType)[keyof typeof EventType]

/** Values of the two CUSTOM events that carry a local span's times, because the IDL of 2010 has no other field for them. */
export const LOCAL_START = 'milo.start'
export const LOCAL_END = 'milo.end'

/** Client and server halves of a call, and local spans. */
export type Side = 'client' | 'server' | 'local'

export interface SpanEvent {
  /** Microseconds since the epoch. */
  timestamp?: bigint
  /** One of EventType, or a number that a later version defines. */
  eventType?: number
  value?: string
}

/** The first and the last event of a record: when its span started and ended. */
export const WINDOWS: Readonly<Record<Side, readonly [SpanEvent, SpanEvent]>> = {
  client: [{ eventType: EventType.CLIENT_SEND }, { eventType: EventType.CLIENT_RECV }],
  server: [{ eventType: EventType.SERVER_RECV }, { eventType: EventType.SERVER_SEND }],
  local: [
    { eventType: EventType.CUSTOM, value: LOCAL_START },
    { eventType: EventType.CUSTOM, value: LOCAL_END },
  ],
}

/** Whether it is an event of a call, of either side. */
export function isCall(eventType: number | undefined): boolean {
  return eventType !== undefined && eventType >= EventType.CLIENT_SEND && eventType <= EventType.SERVER_RECV
}

/** The side that has events of this type. */
export function sideOf(eventType: number | undefined): Side {
  if (!isCall(eventType)) return 'local'
  return eventType === EventType.CLIENT_SEND || eventType === EventType.CLIENT_RECV ? 'client' : 'server'
}

/** The side of a record: that of its first client or server event. */
export function recordSide(events: readonly SpanEvent[]): Side {
  return sideOf(events.find(event => isCall(event.eventType))?.eventType)
}

/** Which of a record's events say only when its span started and ended. */
export function ownEvents(events: readonly SpanEvent[]): (event: SpanEvent) => boolean {
  const side = recordSide(events)
  if (side !== 'local') return ({ eventType }) => isCall(eventType) && sideOf(eventType) === side
  const isLocal = (event: SpanEvent, value: string) => event.eventType === EventType.CUSTOM && event.value === value
  const start = events.find(event => isLocal(event, LOCAL_START))
  const end = events.findLast(event => isLocal(event, LOCAL_END))
  return event => event === start || event === end
}
