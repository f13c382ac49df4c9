import { recordSide, type Side, sideOf as sideOfType } from 'milo/codec/events'
import type { SpanRecord } from 'milo/codec/span'
import { VERSION_KEYS } from '../record/half'
import { OTHER } from '../store/activity/model'
import { binOf, MAX_US, middleOf } from '../store/activity/sketch'
import { hexId } from '../trace/ids'
import { NO_PARENT, type TraceSpan } from '../trace/model'
import type { AnalysedTrace, Analysis } from './analysis'
import { ExactSums } from './exact-sums'
import { hashOf } from './examples'
import { FairMap } from './fair-map'

const BOUNDS = { maxKeys: 5_000, maxGroups: 1_000 }
/** How many of those that miss halves of a service are listed. */
const MAX_MISSED_BY = 10

/** What is wrong with spans; all but the missing halves are known of the service that reports them. */
const PROBLEMS = ['orphans', 'skewedClocks', 'unknownProbabilities', 'incomplete'] as const
type Problem = (typeof PROBLEMS)[number]

/** How many spans, how many those stand for, and one of their traces. */
class Tally {
  spans = 0
  /** The trace whose id has the least hash, and that. */
  private trace: string | undefined
  private hash = Number.POSITIVE_INFINITY
  private readonly weights: ExactSums

  constructor(weights = new ExactSums()) {
    this.weights = weights
  }

  add({ id, weight }: AnalysedTrace, hash: number): void {
    this.spans++
    this.weights.add(0, weight)
    if (hash <= this.hash) this.offer(id, hash)
  }

  merge(other: Tally): void {
    this.spans += other.spans
    this.weights.merge(other.weights)
    if (other.trace !== undefined) this.offer(other.trace, other.hash)
  }

  result() {
    return { spans: this.spans, weighted: tenths(this.weights.get(0)), trace: this.trace ?? null }
  }

  toJSON(): object {
    return { spans: this.spans, weights: this.weights, trace: this.trace }
  }

  static read(json: unknown): Tally {
    const { spans, weights, trace } = json as Record<string, unknown>
    const tally = new Tally(ExactSums.read(weights))
    tally.spans = whole(spans)
    if (trace !== undefined) tally.offer(String(trace), hashOf(String(trace)))
    return tally
  }

  private offer(id: string, hash: number): void {
    if (hash > this.hash || (hash === this.hash && id > this.trace!)) return
    this.trace = id
    this.hash = hash
  }
}

/** What a version of a service reported. */
class Reported {
  traces = 0
  /** The number of the trace that was counted last. */
  private latest = 0
  all = new Tally()
  /** How many server and client halves. */
  servers = 0
  clients = 0
  problems: Record<Problem, Tally> = {
    orphans: new Tally(),
    skewedClocks: new Tally(),
    unknownProbabilities: new Tally(),
    incomplete: new Tally(),
  }
  /** How far clocks were ahead at most and behind at most, and how many spans by how far they were wrong: see binOf(). */
  ahead = 0
  behind = 0
  skews = new Map<number, number>()

  merge(other: Reported): void {
    this.traces += other.traces
    this.all.merge(other.all)
    this.servers += other.servers
    this.clients += other.clients
    for (const problem of PROBLEMS) this.problems[problem].merge(other.problems[problem])
    this.ahead = Math.max(this.ahead, other.ahead)
    this.behind = Math.max(this.behind, other.behind)
    for (const [bin, spans] of other.skews) this.skews.set(bin, (this.skews.get(bin) ?? 0) + spans)
  }

  add(trace: AnalysedTrace, number: number, hash: number): void {
    if (number !== this.latest) this.traces++
    this.latest = number
    this.all.add(trace, hash)
  }

  skewed(trace: AnalysedTrace, hash: number, skewUs: number): void {
    this.problems.skewedClocks.add(trace, hash)
    const us = Math.min(Math.abs(skewUs), MAX_US)
    if (skewUs > 0) this.ahead = Math.max(this.ahead, us)
    else this.behind = Math.max(this.behind, us)
    const bin = binOf(us)
    this.skews.set(bin, (this.skews.get(bin) ?? 0) + 1)
  }

  medianSkew(): number | null {
    let left = this.problems.skewedClocks.spans / 2
    for (const [bin, spans] of [...this.skews].sort(([a], [b]) => a - b)) {
      left -= spans
      if (left <= 0) return Math.round(middleOf(bin))
    }
    return null
  }

  toJSON(): object {
    const { traces, all, servers, clients, problems, ahead, behind, skews } = this
    return { traces, all, servers, clients, problems, ahead, behind, skews: [...skews] }
  }

  static read(json: unknown): Reported {
    const of = json as Record<string, unknown>
    const read = new Reported()
    read.traces = whole(of.traces)
    read.all = Tally.read(of.all)
    read.servers = whole(of.servers)
    read.clients = whole(of.clients)
    for (const problem of PROBLEMS)
      read.problems[problem] = Tally.read((of.problems as Record<string, unknown>)[problem])
    read.ahead = whole(of.ahead)
    read.behind = whole(of.behind)
    read.skews = new Map((of.skews as [number, number][]).map(([bin, spans]) => [bin, whole(spans)]))
    return read
  }
}

/** A service and its version, which is '' if it doesn't say. */
type Who = readonly [service: string, version: string]

/**
 * What is wrong with what services report, by service and version: spans whose parents are missing, halves that a service doesn't report
 * though it reports others, clocks that are wrong, spans without a probability, and spans without a beginning or an end.
 */
export class Instrumentation implements Analysis {
  /** By service and version. */
  private readonly reported = new FairMap<Reported>(
    BOUNDS,
    () => new Reported(),
    (to, from) => to.merge(from),
  )
  /** Of the id of the trace that is added, and how many there were. */
  private hash = 0
  private number = 0
  /** Halves that weren't reported: by whose they are and which (server or client), and by whose other half shows it. */
  private readonly missing = new FairMap<Tally>(
    BOUNDS,
    () => new Tally(),
    (to, from) => to.merge(from),
  )

  add(trace: AnalysedTrace): void {
    const halves = new Halves(trace)
    this.hash = hashOf(trace.id)
    this.number++
    for (const half of trace.halves) this.addHalf(trace, half, halves)
    const { spans } = trace.tree
    /** The numbers of the spans from the root to this one. */
    const path: number[] = []
    for (const [i, span] of spans.entries()) {
      path.length = span.depth
      path.push(i)
      if (span.orphan) this.addTo(halves.reporterOf(span), 'orphans', trace)
      if (span.rawStart !== undefined) this.addSkews(trace, span, halves)
      if (span.kind === 'client') this.addMissingServer(trace, i, halves)
      if (span.kind === 'server') this.addMissingClient(trace, span, spans[path[span.depth - 1] ?? -1], halves)
    }
  }

  *partials(): Generator<[string, unknown], void> {
    for (const map of ['reported', 'missing'] as const) {
      const { limit } = this[map]
      for (const [group, key, value] of this[map].entries()) {
        yield [`${map}\0${group}\0${key}`, { map, limit, group, key, value }]
      }
    }
  }

  merge(_: string, partial: unknown): void {
    const { map, limit, group, key, value } = partial as Record<string, unknown>
    if (typeof limit !== 'number' || typeof group !== 'string' || typeof key !== 'string') {
      throw new RangeError('not of a service')
    }
    if (map === 'reported') {
      const read = Reported.read(value)
      this.reported.lower(limit)
      this.reported.get(group, key).merge(read)
    } else {
      const read = Tally.read(value)
      this.missing.lower(limit)
      this.missing.get(group, key).merge(read)
    }
  }

  *results(): Generator<object, void> {
    const lines = new Map<string, { service: string; version: string; reported: Reported }>()
    const reports = { server: new Set<string>(), client: new Set<string>() }
    for (const [service, version, reported] of this.reported.entries()) {
      lines.set(`${service}\0${version}`, { service, version, reported })
      if (reported.servers > 0) reports.server.add(service)
      if (reported.clients > 0) reports.client.add(service)
    }
    const missing = new Map<string, Record<Half, MissedHalves>>()
    for (const [of, by, tally] of this.missing.entries()) {
      const [half, service = OTHER, version = OTHER] = of.split('\0')
      // Who reports no such half at all isn't instrumented, as a database.
      if (half !== OTHER && !reports[half as Half].has(service)) continue
      const name = `${service}\0${version}`
      if (!lines.has(name)) lines.set(name, { service, version, reported: new Reported() })
      let own = missing.get(name)
      if (own === undefined) missing.set(name, (own = { server: new MissedHalves(), client: new MissedHalves() }))
      own[half === 'client' ? 'client' : 'server'].add(by, tally)
    }
    for (const name of [...lines.keys()].sort()) {
      const { service, version, reported } = lines.get(name)!
      const { problems } = reported
      const own = missing.get(name)
      yield {
        kind: 'instrumentation',
        service,
        version: version === '' ? null : version,
        traces: reported.traces,
        ...reported.all.result(),
        orphans: problems.orphans.result(),
        missingServers: (own?.server ?? new MissedHalves()).result(),
        missingClients: (own?.client ?? new MissedHalves()).result(),
        skewedClocks: {
          ...problems.skewedClocks.result(),
          medianUs: reported.medianSkew(),
          aheadUs: reported.ahead,
          behindUs: reported.behind,
        },
        unknownProbabilities: problems.unknownProbabilities.result(),
        incomplete: problems.incomplete.result(),
      }
    }
  }

  private addHalf(trace: AnalysedTrace, half: SpanRecord, halves: Halves): void {
    const [service, version] = halves.who(half)
    if (service === '') return
    const reported = this.reported.get(service, version)
    reported.add(trace, this.number, this.hash)
    const side = sideOf(half)
    if (side === 'server') reported.servers++
    if (side === 'client') reported.clients++
    if (isUnknown(half.probability)) reported.problems.unknownProbabilities.add(trace, this.hash)
    if (isIncomplete(half, side)) reported.problems.incomplete.add(trace, this.hash)
  }

  private addTo([service, version]: Who, problem: Problem, trace: AnalysedTrace): void {
    if (service !== '') this.reported.get(service, version).problems[problem].add(trace, this.hash)
  }

  private addSkews(trace: AnalysedTrace, span: TraceSpan, halves: Halves): void {
    const { start, clientStart, serverStart, rawStart, rawClientStart, rawServerStart, kind } = span
    const add = (side: Side, raw: number | null | undefined, corrected: number | null) => {
      const skewUs = (raw ?? 0) - (corrected ?? 0)
      if (raw === null || raw === undefined || skewUs === 0) return
      const [service, version] = halves.reporterOf(span, side)
      if (service !== '') this.reported.get(service, version).skewed(trace, this.hash, skewUs)
    }
    if (kind === 'local') add('local', rawStart, start)
    add('client', rawClientStart, clientStart)
    add('server', rawServerStart, serverStart)
  }

  /** A call whose callee has a name, but no half of its own: neither with the call's id nor, as in OpenTelemetry, in a span below. */
  private addMissingServer(trace: AnalysedTrace, i: number, halves: Halves): void {
    const { spans } = trace.tree
    const { service, depth } = spans[i]!
    if (service === null) return
    for (let below = i + 1; below < spans.length && spans[below]!.depth > depth; below++) {
      if (spans[below]!.depth === depth + 1 && spans[below]!.kind === 'server') return
    }
    const [caller, version] = halves.reporterOf(spans[i]!, 'client')
    this.missing.get(`server\0${service}\0`, `${caller}\0${version}`).add(trace, this.hash)
  }

  /** Work for another service, below a span of that service that isn't a call, or for a caller that it names. */
  private addMissingClient(trace: AnalysedTrace, span: TraceSpan, parent: TraceSpan | undefined, halves: Halves): void {
    let caller: Who
    if (parent !== undefined) {
      if (parent.kind === 'client') return
      caller = halves.reporterOf(parent, parent.kind === 'local' ? 'local' : 'server')
    } else if (span.parentId === NO_PARENT && span.clientService !== null) caller = [span.clientService, '']
    else return
    if (caller[0] === '' || caller[0] === span.service) return
    const [service, version] = halves.reporterOf(span, 'server')
    this.missing.get(`client\0${caller[0]}\0${caller[1]}`, `${service}\0${version}`).add(trace, this.hash)
  }
}

type Half = 'server' | 'client'

/** Halves that a service didn't report, and those who know. */
class MissedHalves {
  private readonly all = new Tally()
  private readonly by: { by: string; tally: Tally }[] = []

  add(by: string, tally: Tally): void {
    this.all.merge(tally)
    this.by.push({ by, tally })
  }

  result() {
    const by = this.by.sort((a, b) => b.tally.spans - a.tally.spans || (a.by < b.by ? -1 : 1)).slice(0, MAX_MISSED_BY)
    return {
      ...this.all.result(),
      by: by.map(({ by, tally }) => {
        const [service, version = ''] = by.split('\0')
        return { service, version: version === '' ? null : version, ...tally.result() }
      }),
    }
  }
}

/** Who reported the halves of a trace. */
class Halves {
  /** The versions that each service has in the trace: one, unless it is being replaced. */
  readonly versions = new Map<string, string[]>()
  private readonly halves: readonly SpanRecord[]
  private bySpan: Map<string, SpanRecord[]> | undefined

  constructor({ halves }: AnalysedTrace) {
    this.halves = halves
    for (const half of halves) {
      const version = versionOf(half)
      const known = this.versions.get(half.service ?? '')
      if (known === undefined) this.versions.set(half.service ?? '', [version])
      else if (!known.includes(version)) known.push(version)
    }
  }

  who(half: SpanRecord): Who {
    const service = half.service ?? ''
    const own = this.versions.get(service)!
    return [service, own.length === 1 ? own[0]! : versionOf(half)]
  }

  /** @param side undefined for the caller's half, if there is one */
  reporterOf(span: TraceSpan, side?: Side): Who {
    if (side === 'server' || side === 'client') {
      const service = (side === 'server' ? span.service : span.clientService) ?? ''
      const own = this.versions.get(service)
      if (own?.length === 1) return [service, own[0]!]
    }
    this.bySpan ??= this.index()
    const all = this.bySpan.get(span.spanId)!
    const of = (side: Side) => all.filter(half => sideOf(half) === side)
    const candidates = of(side ?? 'client')
    // The first by name, as records come in any order.
    return (candidates.length === 0 ? all : candidates)
      .map(half => this.who(half))
      .reduce((a, b) => (a[0] < b[0] || (a[0] === b[0] && a[1] <= b[1]) ? a : b))
  }

  private index(): Map<string, SpanRecord[]> {
    const bySpan = new Map<string, SpanRecord[]>()
    for (const half of this.halves) {
      const id = hexId(half.id!)
      const known = bySpan.get(id)
      if (known === undefined) bySpan.set(id, [half])
      else known.push(half)
    }
    return bySpan
  }
}

function versionOf({ annotations }: SpanRecord): string {
  if (annotations === undefined) return ''
  for (const key of VERSION_KEYS) {
    const version = annotations.get(key)
    if (version) return version
  }
  return ''
}

function sideOf({ events = [] }: SpanRecord): Side {
  return recordSide(events)
}

function isUnknown(p: number | undefined): boolean {
  return !(p !== undefined && p >= 0 && p <= 1)
}

/** Whether it isn't known when the half began or ended. */
function isIncomplete({ events = [] }: SpanRecord, side: Side): boolean {
  let times = 0
  for (const { timestamp, eventType } of events) if (timestamp !== undefined && sideOfType(eventType) === side) times++
  return times < 2
}

function tenths(n: number): number {
  return Math.round(n * 10) / 10
}

function whole(n: unknown): number {
  if (!Number.isSafeInteger(n) || (n as number) < 0) throw new RangeError('not a whole number')
  return n as number
}
