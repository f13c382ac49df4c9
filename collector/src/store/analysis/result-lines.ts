import { z } from 'zod'
import { HOUR_US } from '../hours'
import { type AnalysisWindow, BANDS } from './model'

/**
 * What lines of results look like, as far as the API and the page read them: docs/offline.md describes all fields. A line may have more
 * than is checked here.
 */

const finite = z.number()
const count = z.number().min(0)
const name = z.string()
const service = z.string().nullable()
const root = z.object({ service, name })
/** Null without traces. */
const latency = finite.nullable()
const estimate = z.object({ value: finite, low: finite.nullable(), high: finite.nullable() })
const traceId = z.string().regex(/^[0-9a-f]{16}([0-9a-f]{16})?$/, 'is not a trace id')
const exemplar = z.object({
  traceId,
  start: finite,
  duration: finite.nullable(),
  kind: z.enum(['slow', 'failed', 'typical']),
})
const exemplars = z.array(exemplar)
const figures = {
  calls: estimate,
  errors: estimate,
  errorShare: estimate.nullable(),
  mean: estimate.nullable(),
  p50: estimate.nullable(),
  p90: estimate.nullable(),
  p95: estimate.nullable(),
  p99: estimate.nullable(),
  p999: estimate.nullable(),
  records: count,
  unknown: count,
}
/** How many spans, how many those stand for, and a trace that shows it. */
const tally = { spans: count, weighted: count, trace: traceId.nullable() }
const missing = z.object({ ...tally, by: z.array(z.object({ service, version: name.nullable(), ...tally })) })
const byBand = <T extends z.ZodType>(value: T) => z.array(value).length(BANDS.length)
/** Of all traces, then by band. */
const means = <T extends z.ZodRawShape>(more: T) =>
  z.array(z.object({ us: finite, se: count.nullable(), degrees: count, ...more })).length(1 + BANDS.length)
const shown = { root, rank: count, traceId, start: finite.nullable(), durationUs: finite, spans: count }

/** The first line: what was analysed. It has counts of what was read and left out, too. */
const time = z.union([z.string(), finite]).nullable()
const WINDOW = z.looseObject({ from: time, to: time })
export type WindowLine = z.output<typeof WINDOW>

const LINES = {
  window: WINDOW,
  edge: z.object({ caller: name, callerName: name, callee: name, calleeName: name, ...figures, traces: exemplars }),
  root: z.object({
    root,
    traces: count,
    weight: count,
    rootless: count,
    meanUs: latency,
    p50Us: latency,
    p95Us: latency,
    p99Us: latency,
    bands: byBand(
      z.object({
        overUs: count.nullable(),
        upToUs: finite.nullable(),
        traces: count,
        weight: count,
        us: count,
        examples: exemplars,
      }),
    ),
    means: means({}),
  }),
  path: z.object({
    root,
    path: z.array(z.tuple([service, name])).min(1),
    us: byBand(count),
    traces: byBand(count).nullable(),
    examples: exemplars,
  }),
  operation: z.object({ root, service, name, traces: count.nullable(), means: means({ calls: count.nullable() }) }),
  slow: z.object(shown),
  instrumentation: z.object({
    service: name,
    version: name.nullable(),
    traces: count,
    ...tally,
    orphans: z.object(tally),
    missingServers: missing,
    missingClients: missing,
    skewedClocks: z.object({ ...tally, medianUs: count.nullable(), aheadUs: count, behindUs: count }),
    unknownProbabilities: z.object(tally),
    incomplete: z.object(tally),
  }),
  strange: z.object({ ...shown, share: count, traces: count, shapes: count, of: count, examples: exemplars }),
  /** The last line: how many there are between it and the window. */
  end: z.object({ results: count }),
} as const

export type LineKind = keyof typeof LINES
/** What a line of a kind has. */
export type LineOf<K extends LineKind> = z.output<(typeof LINES)[K]>

/** Says what is wrong with a line of results; undefined if nothing is. */
export function problemWith(line: unknown): string | undefined {
  const { kind } = (line ?? {}) as { kind?: unknown }
  if (typeof kind !== 'string')
    return 'it is not an object with a kind: give the results of milo-collector reduce --merge'
  const schema: z.ZodType | undefined = Object.hasOwn(LINES, kind) ? LINES[kind as LineKind] : undefined
  if (schema === undefined) {
    return `unknown kind ${JSON.stringify(kind.slice(0, 80))}: this milo-collector knows ${Object.keys(LINES).join(', ')}; load with the version that wrote the results`
  }
  const result = schema.safeParse(line)
  if (!result.success) {
    const issue = result.error.issues[0]!
    return `of kind "${kind}": ${issue.path.join('.') || 'it'}: ${issue.message}: load what milo-collector reduce --merge wrote, unchanged`
  }
  if (kind === 'window' && windowOf(line as WindowLine) === undefined) {
    return 'its from and to are not whole hours, the first before the second, as they are where no trace was analysed: give reduce --hours, and other records'
  }
  return undefined
}

/** Returns the window that results are about; undefined if it isn't one of whole hours. */
export function windowOf({ from, to }: WindowLine): AnalysisWindow | undefined {
  const [fromUs, toUs] = [from, to].map(time =>
    typeof time === 'string' ? Date.parse(time) * 1000 : (time ?? Number.NaN),
  )
  const isHour = (us: number | undefined): us is number => Number.isSafeInteger(us) && us! >= 0 && us! % HOUR_US === 0
  return isHour(fromUs) && isHour(toUs) && fromUs < toUs ? { fromUs, toUs } : undefined
}
