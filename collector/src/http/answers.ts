import type { DiffError, Side, TraceDiff, TraceSummary } from '../trace'

/**
 * The JSON of the API's answers: the routes return these types and the web interface reads them. docs/http-api.md describes
 * them. Times are microseconds since the epoch and durations microseconds; null means unknown. trace/model.ts and trace/diff.ts
 * have the answers about single traces.
 */

/** Any error. */
export interface ErrorAnswer {
  /** A sentence, with the remedy. It may change. */
  error: string
  /** Such as MILO_BAD_QUERY. It stays the same. */
  code: string
}

/** GET /api/status. It has more, for people. */
export interface StatusAnswer {
  /** Where it listens for Scribe's messages. */
  scribe: { host: string; port: number }[]
  auth: 'none' | 'basic' | 'bearer'
  /** How long spans are kept. */
  retentionDays: number
}

/** GET /api/settings */
export interface SettingsAnswer {
  /** The template of links to logs, with names in braces; null if none is configured. */
  logLink: string | null
}

/** GET /api/export/collectors */
export interface ExportCollectorsAnswer {
  /** What each collector accepted from `fromUs` on and before `toUs` is stored, and nothing can be added to it. */
  collectors: { collector: string; fromUs: number; toUs: number }[]
}

/** What follows the last line of GET /api/export with end=true. */
export interface ExportEnd {
  records: number
  /** How many rows were left out because they are damaged, and some of them. */
  damagedRows: number
  damaged: string[]
}

/** POST /api/keep: what processes were asked for. */
export type KeepAnswer = ({ traceId: string } | { service: string; name: string; n: number }) & {
  /** How many processes with a history ask this collector now; others ask other collectors, or relays. */
  processes: number
  /** Of an operation: how many of the service's processes ask now, any collector on the same databases. */
  ofService?: number
  /** Why perhaps nothing comes; absent if processes were told that may have it. */
  hint?: string
}

/** GET /api/keeps */
export interface KeepsAnswer extends Range {
  /** What was kept after the fact, those with the most traces first. */
  caught: CaughtGroup[]
  /** What people have asked for, the latest first. */
  requests: KeepRequest[]
  /** The processes that have a history now. */
  services: ServiceHistories[]
}

/** Traces that were kept for the same reason at the same operation. */
export interface CaughtGroup {
  /** error, slow, lateral, requested, or the application's word. */
  reason: string
  /** The span whose process kept the trace. */
  service: string
  name: string
  traces: number
  first: number
  last: number
  /** Some of the latest, the last one first. */
  latest: { traceId: string; time: number }[]
}

export type KeepRequest = ({ traceId: string } | { service: string; name: string; n: number }) & {
  time: number
  /** The user who asked; null if nobody had to say. */
  by: string | null
}

export interface ServiceHistories {
  service: string
  processes: number
  /** How far back the histories of its processes went when these last said it: the shortest and the longest. */
  shortest: number
  longest: number
  /** The earliest time at which one of them said it last. */
  asOf: number
}

/** GET /api/search */
export interface SearchAnswer {
  traces: TraceSummary[]
  /** The value of `before` for the next page. */
  next: string | null
  /** How many traces were read for this page. */
  read: number
  /** What finding them cost: 'key' if every trace with a certain annotation is read, 'all' if every trace of the time range is. */
  cost: 'index' | 'key' | 'all'
  /** With order=longest or order=errors, which have no further pages. */
  ordered?: Ordered
}

/** What the order is one of. */
export interface Ordered {
  /** How many matching traces were read. The answer has those of them that are longest, or have the most errors. */
  read: number
  /** Whether no other matching trace is longer, or has more errors. */
  complete: boolean
}

/** GET /api/overview: all of a search's time range at a glance */
export interface OverviewAnswer extends Range {
  /** The length of a bucket. The first and the last one may have less of the range. */
  step: number
  /** `counts`: from what was counted of every call, as the search is one of a service, an operation or both; `sample`: from the traces that were read. */
  source: 'counts' | 'sample'
  /** All of the range, oldest first. */
  buckets: OverviewBucket[]
  /** How many of the stored traces match; exact (low = high) if all were found. */
  matching: Estimate
  /** A fair sample of the range, oldest first. */
  sample: TraceSummary[]
  /** Whether all matching traces were found. */
  complete: boolean
}

export interface OverviewBucket {
  /** When it begins. */
  time: number
  /** How many calls (`counts`) or traces (`sample`) there were, not just the sampled ones; and how many of them failed. */
  calls: Estimate
  errors: Estimate
  /** Durations of calls or of traces; null if none is known. */
  p50: number | null
  p95: number | null
  p99: number | null
  /** How many stored traces match. */
  traces: Estimate
  /** How many of them were read. */
  read: number
  /** Whether these are all. */
  complete: boolean
}

/** GET /api/errors */
export interface ErrorsAnswer extends Range {
  /** The length of a trend's steps. */
  step: number
  /** Those with the most failures first. */
  groups: ErrorGroup[]
  /** How many traces with errors were read. */
  read: number
  /** Whether these are all. */
  complete: boolean
  /** How many stored traces have errors. */
  matching: Estimate
  /** True if there are more groups than are listed. */
  truncated?: true
}

/** Failures of one operation with one type and alike messages. A failure that made its callers fail counts once, where it arose. */
export interface ErrorGroup {
  id: string
  service: string | null
  operation: string
  type: string | null
  /** With … in the place of numbers and ids. */
  message: string | null
  /** A message as it was sent, or its first 300 characters; the type, if there is no message. */
  example: string
  first: number
  last: number
  /** How many such failures there were, not just the sampled ones. */
  count: Estimate
  /** How many were read. */
  read: number
  /** Steps without failures are left out. */
  trend: { time: number; count: number }[]
  /** The services that failed by it, the nearest first. */
  through: string[]
  /** The newest first, five at most. */
  traces: FailedTrace[]
}

export interface FailedTrace {
  traceId: string
  start: number
  spanId: string
}

/** GET /api/complete */
export interface CompletionAnswer {
  values: string[]
}

/** GET /api/saved-searches */
export interface SavedSearchesAnswer {
  searches: SavedSearchAnswer[]
}

/** A named search, which all users of the collector share. */
export interface SavedSearchAnswer {
  id: string
  name: string
  /** The query string of the web interface's address. */
  query: string
  created: number
}

/** The time range of an answer. */
export interface Range {
  from: number
  to: number
}

/**
 * What is likely of a number that sampling hides: it is between `low` and `high` with a probability of 95%. All are equal if it is
 * known exactly. A limit is null if too little was sampled for one.
 */
export interface Estimate {
  value: number
  low: number | null
  high: number | null
}

/** What is known of calls: of an operation, of an edge between two, or of all that a service did. docs/aggregation.md has the formulas. */
export interface Figures {
  /** How many calls there were, not just the sampled ones; and how many of them failed. */
  calls: Estimate
  errors: Estimate
  /** From 0 to 1. Null without calls. */
  errorShare: Estimate | null
  /** Durations; null if none is known. */
  mean: Estimate | null
  p50: Estimate | null
  p90: Estimate | null
  p95: Estimate | null
  p99: Estimate | null
  p999: Estimate | null
  /** How many spans were counted for this. */
  records: number
  /** How many of them don't say how likely they were sampled; each counts as one call. */
  unknown: number
}

/** A trace that shows what the figures are about. */
export interface Exemplar {
  traceId: string
  start: number
  duration: number | null
  kind: 'slow' | 'failed' | 'typical'
}

/** What was counted. The range is what was asked for, and the rest of the minutes (or hours, where only these are kept) at both ends. */
interface CountedRange extends Range {
  /** True if there is more: the answer has the busiest. */
  truncated?: true
}

/** GET /api/services */
export interface ServicesAnswer extends CountedRange {
  /** The length of one step of a series. */
  step: number
  /** The busiest first. */
  services: ServiceFigures[]
}

/** What a service was asked to do: calls that it answered, and traces that began with it. Calls that it made are other services' work. */
export interface ServiceFigures extends Figures {
  service: string
  exemplars: Exemplar[]
  /** Steps without calls are left out. */
  series: ServicePoint[]
}

interface ServicePoint extends Pick<Figures, 'calls' | 'errors' | 'errorShare' | 'p50' | 'p95' | 'p99'> {
  /** When the step began. */
  time: number
}

/** GET /api/operations */
export interface OperationsAnswer extends CountedRange {
  /** The busiest first. */
  operations: OperationFigures[]
}

export interface Operation {
  service: string
  name: string
  side: Side
}

export interface OperationFigures extends Operation, Figures {
  /** With how many of the calls a trace, or the work for a message of a queue, began. */
  roots: number
  /** Whether the service's own figures count it. */
  isWork: boolean
  exemplars: Exemplar[]
}

/** GET /api/dependencies */
export interface DependenciesAnswer extends CountedRange {
  /** Those with the most calls first. */
  edges: EdgeFigures[]
}

/** Who called whom. With operations=true (and of changes) it has both operations; a name is empty if it isn't known. */
export interface Edge {
  /** The caller. */
  from: string
  fromName?: string
  to: string
  toName?: string
}

export interface EdgeFigures extends Edge, Figures {
  exemplars: Exemplar[]
}

/** GET /api/series: of a service's work, of one operation or of an edge */
export interface SeriesAnswer extends Range {
  /** May be longer than was asked for. */
  step: number
  /** Of the whole range. */
  total: Figures & { exemplars: Exemplar[] }
  /** Steps without calls are left out. */
  points: SeriesPoint[]
}

interface SeriesPoint extends Figures {
  /** When the step began. */
  time: number
}

/** GET /api/usual: how long calls took in the last days */
export interface UsualAnswer extends Range {
  /** Of each service's own work. */
  services: (UsualFigures & { service: string })[]
  /** Of the services that were asked for. */
  operations: (UsualFigures & Operation)[]
}

/** Quantiles in microseconds. */
export interface UsualFigures {
  p50: number
  p95: number
  p99: number
}

/** GET /api/deployments */
export interface DeploymentsAnswer extends Range {
  service: string
  /** The earliest first. */
  deployments: Deployment[]
  /** False if there were more versions, or more work, than the search for them has room for. */
  complete: boolean
}

/** A version of a service that wasn't known before the range. */
export interface Deployment {
  version: string
  /** When a span of it was first seen, or at most `within` later. */
  time: number
  within: number
}

/** GET /api/peers */
export interface PeersAnswer {
  peers: Peer[]
}

/** What reports no spans, and is known by what its callers say. */
export interface Peer {
  name: string
  kind: PeerKind
}

/** `unknown` is another service, as far as is known. */
export type PeerKind = 'database' | 'queue' | 'unknown'

/** GET /api/changes */
export interface ChangesAnswer {
  before: Range
  after: Range
  /** How many operations and edges were compared. */
  compared: number
  /** How many of them changed beyond chance. */
  changed: number
  /** True if there are more operations and edges than were compared, or more changes than are listed. */
  truncated?: true
  /** What costs most first. */
  changes: Change[]
}

export type Change = OperationChange | EdgeChange

interface OperationChange extends ChangeFigures, Operation {
  kind: 'operation'
}

interface EdgeChange extends ChangeFigures, Edge {
  kind: 'edge'
  fromName: string
  toName: string
}

interface ChangeFigures {
  before: Figures
  after: Figures
  /** After less before; null if one of them isn't known. */
  changes: {
    /** Calls a second. */
    rate: Changed | null
    errorShare: Changed | null
    mean: Changed | null
    p95: Changed | null
  }
  /** What it takes more than before, at the calls of the time after; negative if it is less. */
  cost: { secondsPerSecond: number; errorsPerSecond: number }
  /** Without any call before, or after. */
  isNew?: true
  isGone?: true
  /** Why it is slower or fails more often seems to be here rather than in what it calls. */
  origin?: true
  exemplars: Exemplar[]
}

export interface Changed {
  change: Estimate
  /** Whether chance alone would hardly make such a change, for all that were compared together. */
  beyondChance: boolean
}

/** POST /api/analysis: the results of an offline analysis */
export interface LoadAnswer extends Range {
  /** The window's id. */
  window: string
  /** How many results it has now, in the place of those that it had. */
  results: number
}

/** GET /api/analysis */
export interface AnalysesAnswer {
  /** Those that end last first. */
  windows: AnalysedWindow[]
}

/** A stretch of time whose traces were analysed: its hours. */
export interface AnalysedWindow extends Range {
  /** Its hours: 2026-11-30T10..2026-11-30T12. */
  id: string
  /** When its results came. */
  loaded: number
  /** What was analysed, and what was left out, by names: traces, spans, records, and others that docs/offline.md describes. */
  counts: Record<string, number>
}

/** What a trace begins with; the service is null if it isn't known. */
export interface AnalysedRoot {
  service: string | null
  name: string
}

/** GET /api/analysis/roots */
export interface AnalysedRootsAnswer {
  window: AnalysedWindow
  /** Those that took most time altogether first. */
  roots: RootFigures[]
  truncated?: true
}

/** The traces that begin with the same operation. Numbers are those of all of them, not just of the sampled ones, but for `traces`. */
export interface RootFigures extends AnalysedRoot {
  /** How many traces were analysed, and how many those stand for. */
  traces: number
  weight: number
  /** How many of them lack their beginning, and are counted by the operation on top of what there is. */
  rootless: number
  /** Null if all of them were forced, and stand for none. */
  mean: number | null
  p50: number | null
  p95: number | null
  p99: number | null
  /** By latency: up to p50, to p95, to p99, and above. */
  bands: BandFigures[]
}

export interface BandFigures {
  band: 'p50' | 'p50-p95' | 'p95-p99' | 'p99'
  /** The traces took more than this … */
  over: number
  /** … and at most this; null if there is no limit. */
  upTo: number | null
  traces: number
  weight: number
  /** Their latencies' sum. */
  us: number
  exemplars: Exemplar[]
}

/** GET /api/analysis/paths: where the time of a root operation's traces went */
export interface PathsAnswer {
  window: AnalysedWindow
  root: RootFigures
  /** The paths' own times sum up to the latencies' sum, in each band. */
  paths: CriticalPath[]
}

export interface CriticalPath {
  /** Who called whom, from the root operation on: services, null if unknown, and operations. */
  path: [service: string | null, name: string][]
  /** By band: the time on critical paths that was the last operation's own, and of how many traces, if that is known. */
  us: number[]
  traces: number[] | null
  exemplars: Exemplar[]
}

/** GET /api/analysis/regression: what made root operations slower or faster from one window to another */
export interface RegressionAnswer {
  before: AnalysedWindow
  after: AnalysedWindow
  /** The largest change of the mean first. With a root operation, it alone. */
  regressions: RootRegression[]
  truncated?: true
}

export interface RootRegression extends AnalysedRoot {
  /** Null if it has no traces there. */
  before: { traces: number; weight: number } | null
  after: { traces: number; weight: number } | null
  /** Of all traces, then by band. */
  bands: BandRegression[]
}

export interface BandRegression {
  band: 'all' | BandFigures['band']
  /** Mean latencies; null without traces. */
  before: number | null
  after: number | null
  change: Estimate | null
  /** Whether chance alone would hardly make such a change, for all that were compared together. */
  beyondChance: boolean
  /** With a root operation: their changes sum up to its change. What contributes most comes first. */
  contributions: Contribution[]
}

/** What an operation on critical paths has to do with a change. Times are microseconds on the critical path, a trace of the root operation. */
export interface Contribution extends AnalysedRoot {
  before: { us: number; calls: number | null }
  after: { us: number; calls: number | null }
  change: Estimate
  /** Whether chance alone would hardly make such a change, for all that were compared together. */
  beyondChance: boolean
  /** How much of the change is due to more calls, and how much to slower ones; null where that can't be told. */
  oftenUs: number | null
  slowerUs: number | null
  state: 'both' | 'new' | 'gone'
}

/** GET /api/analysis/strange */
export interface StrangeAnswer {
  window: AnalysedWindow
  slow: ShownTrace[]
  /** Of shapes that are rare among the traces of their root operation, the rarest first. */
  strange: StrangeTrace[]
}

export interface ShownTrace {
  root: AnalysedRoot
  traceId: string
  start: number | null
  duration: number
  spans: number
}

export interface StrangeTrace extends ShownTrace {
  /** Of the root operation's traces, the share that have this shape, and how many were seen. */
  share: number
  traces: number
  /** How many shapes, and how many traces, the root operation has. */
  shapes: number
  of: number
  exemplars: Exemplar[]
}

/** GET /api/analysis/instrumentation: what is wrong with what versions of services report */
export interface InstrumentationAnswer {
  window: AnalysedWindow
  /** Those with most spans first. */
  services: Instrumented[]
  truncated?: true
}

export interface Instrumented extends Tally {
  service: string
  version: string | null
  /** In how many analysed traces it is. */
  traces: number
  /** Spans whose parents are missing. */
  orphans: Tally
  /** Calls to this service that it didn't report, and calls of this service, with who knows of them. */
  missingServers: Missing
  missingClients: Missing
  /** How far its clock was off: half of the spans at least by the median; and at most, ahead and behind. */
  skewedClocks: Tally & { medianUs: number | null; aheadUs: number; behindUs: number }
  unknownProbabilities: Tally
  /** Spans without a beginning or an end. */
  incomplete: Tally
}

interface Missing extends Tally {
  by: (Tally & { service: string | null; version: string | null })[]
}

/** How many spans were reported, how many those stand for, and a trace that shows it. */
export interface Tally {
  spans: number
  weighted: number
  trace: string | null
}

/** GET /api/analysis/edges */
export interface AnalysedEdgesAnswer {
  window: AnalysedWindow
  /** Calls from one operation to another; those with the most calls first. */
  edges: EdgeFigures[]
  truncated?: true
}

/** POST /api/traces */
export interface UploadAnswer {
  traceIds: string[]
  /** The number of spans that are stored. */
  spans: number
  rejected: number
  /** Why spans were rejected; absent if none was. */
  reasons?: RejectedSpans[]
  /** Fields that spans were stored without; absent if there are none. */
  leftOut?: { format: string; field: string; reason: string; count: number }[]
}

export interface RejectedSpans {
  reason: string
  spans: number
  /** What is wrong with the first of them. */
  message: string
}

/** GET /api/compare */
export interface CompareAnswer extends TraceDiff {
  a: ComparedTrace
  b: ComparedTrace
  /** The errors that arose in them. */
  errors: DiffError[]
}

export interface ComparedTrace {
  traceId: string
  start: number | null
  duration: number | null
  spanCount: number
  /** True if only a part of the trace was read. */
  truncated?: true
}

/** GET /api/compare/alike: traces that begin with the same operation, to compare one with */
export interface AlikeAnswer {
  trace: TraceSummary
  /** How many others were found: the newest ones, and those of the hours around it. */
  found: number
  /** The one of median duration among those without an error, or among all; null if none was found. */
  typical: TraceSummary | null
  fastest: TraceSummary[]
  slowest: TraceSummary[]
  newest: TraceSummary[]
}

/** GET /api/compare/groups: fast and slow traces of one operation */
export interface CompareGroupsAnswer extends Range {
  /** The operation with which the compared traces begin; null if no trace was found. */
  operation: RootOperation | null
  /** What the sampled traces begin with, the most frequent first. */
  operations: RootOperation[]
  /** Whether the sample has all traces of the search. */
  complete: boolean
  fast: TraceGroup
  slow: TraceGroup
  /** The calls of all of them, depth-first. */
  nodes: GroupNode[]
  /** How many calls were left out, whose time differs least. */
  left: number
  /** The errors that arose in them: those of slow traces alone come first. */
  errors: GroupError[]
}

export interface RootOperation {
  service: string | null
  name: string
  /** How many of the sampled traces begin with it. */
  traces: number
}

/** A quarter of the sampled traces of an operation, by their durations in microseconds. */
export interface TraceGroup {
  /** How many were read and compared. */
  traces: number
  /** How many belong to the group. */
  of: number
  min: number | null
  max: number | null
  /** How many of the compared ones are so long that only their beginning was read. */
  truncated: number
  examples: { traceId: string; duration: number }[]
}

export interface GroupNode {
  service: string | null
  name: string
  depth: number
  fast: GroupMeans
  slow: GroupMeans
  /** The slow traces' means less the fast ones'. */
  change: { calls: number; time: number; critical: number }
  /** Whether chance alone would hardly make such a difference, for all calls together; null if there are too few traces to tell. */
  beyondChance: { calls: boolean | null; time: boolean | null }
}

/** Means of all traces of a group, those without such a call included. Microseconds. */
export interface GroupMeans {
  /** How many traces have such a call. */
  traces: number
  calls: number
  time: number
  /** On the critical path: those of all calls add up to the duration of the first root. */
  critical: number
  errors: number
}

export interface GroupError {
  service: string | null
  name: string
  type: string | null
  /** Of one of them. */
  message: string | null
  /** In how many of the traces it arose. */
  fast: number
  slow: number
  beyondChance: boolean
  exampleFast: { traceId: string; spanId: string } | null
  exampleSlow: { traceId: string; spanId: string } | null
}

/** GET /api/difference */
export interface DifferenceAnswer extends Range {
  /** The traces that were selected, and those with which they are compared. */
  selected: ComparedGroup
  others: ComparedGroup
  /** The number of features that were tested. */
  tested: number
  /** True if the traces have too many different values: those of the fewest traces may be missing, or be counted too low. */
  truncated?: true
  /** What is more frequent among the selected traces, the most telling first. */
  more: Finding[]
  /** What is less frequent there. */
  less: Finding[]
}

/** The traces that were read of a group. */
export interface ComparedGroup {
  traces: number
  /** Whether these are all traces of the group in the time range. */
  complete: boolean
  /** How many of them were forced. They are in the counts, but not in the shares. */
  forced: number
  /** How many of them are so long that only their beginning was read. */
  truncated: number
  /**
   * How many traces of equal weight would say as much. It is the number of traces if all were kept with the same probability, and
   * less otherwise.
   */
  effective: number
}

/** A feature that is more frequent in one of the groups, beyond chance. */
export interface Finding extends Feature {
  selected: FindingCount
  others: FindingCount
  /** How many times as frequent the feature is among the selected traces, with half a trace added to each count. */
  lift: number
  /** How much the feature tells about whether a trace is selected, from 0 to 1. */
  score: number
  /** Fisher's exact test, corrected for the number of tests. */
  p: number
  /** Other features that exactly the same traces have, ten at most. */
  also: Feature[]
}

export interface FindingCount {
  traces: number
  /** The share of the group's traces, each with its weight. */
  share: number
  /** The id of one of them; null if there is none. */
  example: string | null
}

/** What at least one span of a trace has. */
export interface Feature {
  kind: 'service' | 'name' | 'error' | 'annotation' | 'range'
  /** The service that reported the span; null if it may be any. */
  service: string | null
  /** The span's name; for errors, null if it may be any. */
  name: string | null
  /** Of annotations and ranges. */
  key: string | null
  /** The annotation's value, or its first 200 characters; null if it may be any. */
  value: string | null
  /** True if `name`, `key` or `value` is only a beginning. */
  cut?: true
  /** Of ranges: the trace's largest number of this key is between these, both included. */
  min: number | null
  max: number | null
}
