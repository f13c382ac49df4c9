import type { SpanRecord } from 'milo/codec/span'
import { IdMap } from '../../record/ids'
import { CLIENT, type MissingHalf, NO_PARENT, peerOf, SERVER, sideOf, type Trace, type TraceSpan } from '../../trace'
import { hexId } from '../../trace/ids'
import { Turns } from '../../turns'

/**
 * The calls of a trace with what may have answered them, and the spans whose callers aren't there.
 *
 * A server's half has its client's id where a carrier of Milo's brought it, and is a child of it elsewhere (docs/wire-format.md). So where
 * both sides share ids with others, a child of a call isn't its answer, but of a process further on whose caller's half is missing. A
 * process without a history passes ids on as they came. So what it calls looks as if it had been called by its own caller, but is of
 * another protocol, method or path, or elsewhere than where the caller called.
 */

/** A half that isn't there, and what is known of the place where it should be. */
export interface Gap extends Omit<MissingHalf, 'why' | 'detail'> {
  port: string | null
  /** By the trace's clock; what is asked of processes, by the collectors'. */
  startUs: number
  endUs: number
  /** When the missing half had ended at the latest; Infinity: it may go on. */
  endedUs: number
  /** The host of the half that is there, and its service. */
  from: string | null
  other: string | null
}

export interface Call {
  /** Its server's half, should it be missing. */
  gap: Gap
  /** Servers' halves that may answer it: they belong to it by their ids, and do what it asks for. */
  answers: SpanRecord[]
  /** Those that belong to it by their ids alone: they answer calls that came of it. */
  beyond: SpanRecord[]
}

/** Systems that are called, and have no spans of their own. */
const SYSTEMS = ['db.system.name', 'db.system', 'messaging.system']
/** What `thrift.result` says of a call that has failed by its answer. */
const THRIFT_ANSWERS = ['exception', 'application_exception']
const MAX_ORPHANS = 1_000

/** Returns the calls that a span of the server should answer. */
export async function callsOf(trace: Trace, records: SpanRecord[]): Promise<Call[]> {
  const turns = new Turns()
  const clients = new Map<string, SpanRecord>()
  /** Those that are known to share the ids of calls with the other side. */
  const joining = new Set<string>()
  const clientsBelow = new IdMap<SpanRecord>()
  const servers: SpanRecord[] = []
  for (const record of records) {
    if (turns.over()) await turns.next()
    const side = sideOf(record.events ?? [])
    if (record.id === undefined) continue
    if (side === SERVER) servers.push(record)
    else if (side === CLIENT) {
      clients.set(hexId(record.id), record)
      if (record.parentId) clientsBelow.set(record.parentId, record)
    }
  }
  const related = new Map<string, SpanRecord[]>()
  for (const half of servers) {
    // Where its own client's half is there, that is whom it answers.
    const own = hexId(half.id!)
    const client = clients.get(own)
    if (client !== undefined && protocolOf(client.annotations) && protocolOf(half.annotations)) {
      joining.add(sideKeyOf(client, client.clientHost))
      joining.add(sideKeyOf(half, half.serverHost))
    }
    const id = client !== undefined || !half.parentId ? own : hexId(half.parentId)
    const known = related.get(id)
    if (known === undefined) related.set(id, [half])
    else known.push(half)
  }
  const calls: Call[] = []
  for (const span of trace.spans) {
    if (turns.over()) await turns.next()
    const record = clients.get(span.spanId)
    if (record === undefined || SYSTEMS.some(key => record.annotations?.has(key))) continue
    const belonging = related.get(span.spanId) ?? []
    const isJoining = joining.has(sideKeyOf(record, record.clientHost))
    // Where both share ids with others, they do so with each other: a half with an id of its own has another caller.
    const isOthers = (half: SpanRecord) =>
      isJoining && half.id !== record.id && joining.has(sideKeyOf(half, half.serverHost))
    const answers = belonging.filter(half => mayAnswer(record, half) && !isOthers(half))
    // A call by way of another one, as Thrift's over HTTP: that one says what is missing.
    const inner = clientsBelow.get(record.id!)
    if (answers.length === 0 && inner !== undefined && goesTo(record, inner)) continue
    const beyond = belonging.filter(half => !answers.includes(half))
    calls.push({ gap: gapOf(span, record, beyond.length > 0), answers, beyond })
  }
  return calls
}

function gapOf(
  span: TraceSpan,
  { annotations = new Map(), clientHost, serverHost, service }: SpanRecord,
  isMixed: boolean,
): Gap {
  const startUs = span.clientStart ?? span.start ?? 0
  const endUs = startUs + (span.clientDuration ?? span.duration ?? 0)
  return {
    spanId: span.spanId,
    shownAt: span.spanId,
    side: 'server',
    service: peerOf(Object.fromEntries(annotations)),
    host: annotations.get('server.address') || serverHost || (isMixed ? null : span.serverHost),
    port: annotations.get('server.port') ?? null,
    startUs,
    endUs,
    endedUs: wasAnswered(annotations) ? endUs : Number.POSITIVE_INFINITY,
    from: clientHost || null,
    other: service || null,
  }
}

/** Whether a caller has got an answer: one that hasn't waited for it, or lost its connection, doesn't know what goes on there. */
function wasAnswered(annotations: ReadonlyMap<string, string>): boolean {
  if (!annotations.has('error.type') && !annotations.has('error')) return true
  return annotations.has('http.response.status_code') || THRIFT_ANSWERS.includes(annotations.get('thrift.result') ?? '')
}

/** A process as a caller, or as a server, in a protocol: either it shares the ids of all calls with those that do, or of none. */
function sideKeyOf({ service, events = [], annotations }: SpanRecord, host: string | undefined): string {
  return JSON.stringify([service, host, sideOf(events), protocolOf(annotations)])
}

/** Whether both halves are of one protocol and one operation, as far as they say. */
function mayAnswer({ annotations: asked }: SpanRecord, { annotations: done }: SpanRecord): boolean {
  const says = (key: string, of = (value: string) => value) => {
    const [a, b] = [asked?.get(key), done?.get(key)]
    return a === undefined || b === undefined || of(a) === of(b)
  }
  const [of, as] = [protocolOf(asked), protocolOf(done)]
  // Other tracers have other words for theirs.
  if (of === undefined || as === undefined) return true
  return of === as && says('rpc.method') && says('http.request.method') && says('url.path', pathOf)
}

/** As Milo's plugins say it. */
function protocolOf(annotations: SpanRecord['annotations']): string | undefined {
  if (annotations?.get('rpc.system') === 'thrift') return 'thrift'
  return annotations?.has('http.request.method') && annotations.has('url.path') ? 'http' : undefined
}

/** A request to a proxy has the whole URL. */
function pathOf(path: string): string {
  return path.replace(/^https?:\/\/[^/?#]*/i, '') || '/'
}

function goesTo(outer: SpanRecord, inner: SpanRecord): boolean {
  if (outer.service !== inner.service || outer.clientHost !== inner.clientHost) return false
  return ['server.address', 'server.port'].every(key => {
    const [a, b] = [outer.annotations?.get(key), inner.annotations?.get(key)]
    return a === undefined || b === undefined || a === b
  })
}

/**
 * Returns the callers that spans name as their parents, and that aren't there: each once, as the span that knows most of it says; 1,000 at
 * most, and how many there are.
 */
export function callersMissing({ spans }: Trace): { callers: Gap[]; count: number } {
  const gaps = new Map<string, Gap>()
  const more = new Set<string>()
  for (const span of spans) {
    const { spanId, parentId, kind, orphan, annotations } = span
    if (!orphan || parentId === NO_PARENT) continue
    const known = gaps.get(parentId)
    if (known === undefined && gaps.size === MAX_ORPHANS) more.add(parentId)
    if (known === undefined ? gaps.size === MAX_ORPHANS : known.service !== null) continue
    const startUs = span.start ?? 0
    // The parent of what isn't a server's is in the same process.
    const isServed = kind === 'server'
    const endUs = startUs + (span.duration ?? 0)
    const gap: Gap = {
      spanId: parentId,
      shownAt: spanId,
      side: 'client',
      service: span.clientService ?? (isServed ? null : span.service),
      host: span.clientHost ?? annotations['network.peer.address']?.replace(/^::ffff:/, '') ?? null,
      port: null,
      startUs,
      endUs,
      // A caller learns of the answer at once; a parent within the same process may run on.
      endedUs: isServed ? endUs : Number.POSITIVE_INFINITY,
      from: isServed ? span.serverHost : null,
      other: isServed ? span.service : null,
    }
    if (known === undefined || gap.service !== null) gaps.set(parentId, gap)
  }
  return { callers: [...gaps.values()], count: gaps.size + more.size }
}
