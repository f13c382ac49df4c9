import { LoadMaker } from '../../collector/src/store/analysis/load'
import type { Load } from '../../collector/src/store/analysis/model'

/** Results of an offline analysis, as docs/offline.md describes their lines. */

type Line = Record<string, any>

export function lines(results: Line[]): string {
  return results.map(line => `${JSON.stringify(line)}\n`).join('')
}

/** A whole file of them: with the line that says how many they are. */
export function whole(results: Line[]): string {
  return lines([...results, { kind: 'end', results: results.length - 1 }])
}

/** What a store gets of them. */
export async function loadOf(results: Line[], loadedUs = Date.now() * 1000): Promise<Load> {
  const maker = new LoadMaker('results')
  await maker.add(Buffer.from(whole(results)))
  const { results: _, ...load } = await maker.finish(loadedUs)
  return load
}

/** An hour. */
export function windowLine(from: string): Line {
  const to = new Date(Date.parse(from) + 3_600_000).toISOString().replace(':00.000Z', 'Z')
  return { kind: 'window', from, to, traces: 100, spans: 300, records: 400 }
}

export function edgeLine(caller: string, callee: string, calls: number): Line {
  const exact = (value: number) => ({ value, low: value, high: value })
  return {
    kind: 'edge',
    ...{ caller, callerName: `${caller}.in`, callee, calleeName: `${callee}.call` },
    ...{ calls: exact(calls), errors: exact(0), errorShare: exact(0), mean: exact(1000) },
    ...{ p50: exact(900), p90: exact(1500), p95: exact(2000), p99: exact(3000), p999: null },
    ...{ records: calls, unknown: 0, sketch: [], traces: [example(1, 'slow')] },
  }
}

function instrumentationLine(service: string, version: string | null): Line {
  const tally = (spans: number) => ({ spans, weighted: spans, trace: spans === 0 ? null : example(40, 'slow').traceId })
  return {
    kind: 'instrumentation',
    ...{ service, version, traces: 100, ...tally(200), orphans: tally(20) },
    missingServers: { ...tally(0), by: [] },
    missingClients: { ...tally(3), by: [{ service: 'web', version: null, ...tally(3) }] },
    skewedClocks: { ...tally(2), medianUs: 1500, aheadUs: 2000, behindUs: 0 },
    ...{ unknownProbabilities: tally(0), incomplete: tally(0) },
  }
}

export function example(n: number, kind: 'slow' | 'failed' | 'typical') {
  return { traceId: n.toString(16).padStart(16, '0'), start: 1_764_496_800_000_000, duration: 1000 * n, kind }
}

/** By latency: of each root operation, as many traces and microseconds as these. */
const TRACES = [50, 45, 4, 1]

/**
 * 100 traces of GET /checkout in web, which calls the cart, which asks a database, and one of a job.
 * @param dbUs how long a trace waits for the database
 */
export function analysedShop(from: string, dbUs: number): Line[] {
  const root = { service: 'web', name: 'GET /checkout' }
  const job = { service: null, name: 'job' }
  const parts: [path: [string | null, string][], us: number][] = [
    [[['web', 'GET /checkout']], 4_000],
    [
      [
        ['web', 'GET /checkout'],
        ['cart', 'Cart.total'],
      ],
      6_000,
    ],
    [
      [
        ['web', 'GET /checkout'],
        ['cart', 'Cart.total'],
        ['db', 'SELECT'],
      ],
      dbUs,
    ],
  ]
  const mean = parts.reduce((sum, [, us]) => sum + us, 0)
  const means = (us: number) => Array(5).fill({ us, se: us / 50, degrees: 30 })
  return [
    windowLine(from),
    rootLine(root, mean, TRACES),
    rootLine(job, 1000, [1, 0, 0, 0]),
    ...parts.map(([path, us], i) => ({
      kind: 'path',
      ...{ root, path, us: TRACES.map(traces => traces * us), traces: TRACES, examples: [example(10 + i, 'slow')] },
    })),
    { kind: 'path', root: job, path: [[null, 'job']], us: [1000, 0, 0, 0], traces: [1, 0, 0, 0], examples: [] },
    ...parts.map(([path, us]) => ({
      kind: 'operation',
      ...{ root, service: path.at(-1)![0], name: path.at(-1)![1], traces: 100 },
      means: means(us).map(mean => ({ ...mean, calls: 1 })),
    })),
    {
      kind: 'operation',
      root: job,
      service: null,
      name: 'job',
      traces: 1,
      means: means(1000).map(m => ({ ...m, calls: 1 })),
    },
    { kind: 'slow', root, rank: 1, ...shown(20, 900_000) },
    {
      kind: 'strange',
      ...{
        root,
        rank: 1,
        shape: 'abcd',
        share: 0.01,
        traces: 1,
        weight: 1,
        shapes: 2,
        of: 100,
        examples: [example(21, 'typical')],
      },
      ...shown(21, 40_000),
    },
    instrumentationLine('cart', '1.2'),
    edgeLine('web', 'cart', 200),
    edgeLine('cart', 'db', 300),
  ]
}

function rootLine(root: Line, mean: number, traces: number[]): Line {
  const total = traces.reduce((a, b) => a + b, 0)
  const limits = [0, mean, 2 * mean, 3 * mean]
  return {
    kind: 'root',
    ...{ root, traces: total, weight: total, rootless: 0, cut: 0, bucketRatio: 1.04 },
    ...{ meanUs: mean, p50Us: mean, p95Us: 2 * mean, p99Us: 3 * mean },
    bands: traces.map((traces, i) => ({
      ...{
        overUs: i === 0 ? null : limits[i],
        upToUs: limits[i + 1] ?? null,
        traces,
        weight: traces,
        us: traces * mean,
      },
      examples: traces > 0 ? [example(30 + i, 'typical')] : [],
    })),
    means: Array(5).fill({ us: mean, se: mean / 50, degrees: 30 }),
  }
}

function shown(n: number, durationUs: number) {
  const { traceId, start } = example(n, 'slow')
  return { traceId, start, durationUs, spans: 3 }
}
