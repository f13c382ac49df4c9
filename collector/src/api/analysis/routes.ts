import type { FastifyInstance, FastifyReply } from 'fastify'
import { z } from 'zod'
import type {
  AnalysedEdgesAnswer,
  AnalysedRootsAnswer,
  AnalysedWindow,
  AnalysesAnswer,
  CriticalPath,
  EdgeFigures,
  InstrumentationAnswer,
  Instrumented,
  PathsAnswer,
  RegressionAnswer,
  RootFigures,
  ShownTrace,
  StrangeAnswer,
  StrangeTrace,
} from '../../http/answers'
import { HttpError } from '../../http/errors'
import { type Root, readLines, type Visitors } from '../../store/analysis/lines'
import { type Analyses, type AnalysisWindow, BANDS } from '../../store/analysis/model'
import type { LineOf } from '../../store/analysis/result-lines'
import type { AskStore } from '../ask-store'
import { limit, readParameters, string } from '../parameters'
import type { ReadBudget } from '../read-budget'
import { clientTurns } from '../survey/client-turns'
import { takeResults } from './loading'
import { type ComparedLine, regressions } from './regression'
import { noSuchAnalysis, windowAnswer, windowOrLatest, windowParameter } from './windows'

/** Results of offline analyses: POST /api/analysis takes them, and the page Analysis asks for them. */

const WINDOW = { window: windowParameter.optional() }
/** Without a service, it is one whose service isn't known. */
const ROOT = { rootService: string.optional(), rootName: string.optional() }
const ROOTS = z.strictObject({ ...WINDOW, limit: limit(2000, 1000) })
const PATHS = z.strictObject({ ...WINDOW, ...ROOT })
const STRANGE = z.strictObject({ ...WINDOW, ...ROOT, limit: limit(1000, 100) })
const REGRESSION = z.strictObject({ before: windowParameter, after: windowParameter.optional(), ...ROOT })
const EDGES = z.strictObject({ ...WINDOW, service: string.optional(), limit: limit(2000, 500) })
/** What may be empty. */
const NAMES = ['service', 'rootService', 'rootName']

interface Options {
  askStore: AskStore<Analyses>
  /** Reads run one after the other: each has all lines of a kind in memory. */
  reads: ReadBudget
}

export function analysisRoutes(app: FastifyInstance, { askStore, reads }: Options): void {
  app.register(scope => takeResults(scope, { askStore }))

  app.get('/api/analysis', async (request): Promise<AnalysesAnswer> => {
    readParameters(z.strictObject({}), request.query)
    const stored = await askStore(store => store.analyses())
    return { windows: stored.map(windowAnswer) }
  })

  app.delete<{ Params: { window: string } }>('/api/analysis/:window', async (request, reply) => {
    const { window } = readParameters(z.strictObject({ window: windowParameter }), request.params)
    if (!(await askStore(store => store.deleteAnalysis(window)))) throw noSuchAnalysis(window)
    return reply.code(204).send()
  })

  app.get('/api/analysis/roots', async (request, reply): Promise<AnalysedRootsAnswer> => {
    const { limit, ...given } = readParameters(ROOTS, request.query)
    const roots: RootFigures[] = []
    const window = await read(reply, given.window, undefined, { root: line => roots.push(rootFigures(line)) })
    roots.sort((a, b) => timeOf(b) - timeOf(a))
    return { window, roots: roots.slice(0, limit), ...(roots.length > limit && { truncated: true }) }
  })

  app.get('/api/analysis/paths', async (request, reply): Promise<PathsAnswer> => {
    const { window: given, ...names } = readParameters(PATHS, request.query, NAMES)
    const root = rootOf(names)
    if (root === undefined) {
      throw new HttpError(
        400,
        'MILO_BAD_PARAMETER',
        'rootName is missing: give rootService and rootName, as GET /api/analysis/roots lists them',
      )
    }
    const found: RootFigures[] = []
    const paths: CriticalPath[] = []
    const window = await read(reply, given, root, {
      root: line => found.push(rootFigures(line)),
      path: ({ path, us, traces, examples }) => paths.push({ path, us, traces, exemplars: examples }),
    })
    if (found[0] === undefined) {
      throw new HttpError(
        404,
        'MILO_NO_SUCH_ROOT',
        `${window.id} has no traces that begin with this operation: GET /api/analysis/roots lists them`,
      )
    }
    return { window, root: found[0], paths }
  })

  app.get('/api/analysis/regression', async (request, reply): Promise<RegressionAnswer> => {
    const { before, after, ...names } = readParameters(REGRESSION, request.query, NAMES)
    const root = rootOf(names)
    const lines = async (window: AnalysisWindow | undefined) => {
      const lines: ComparedLine[] = []
      const add = (line: ComparedLine) => void lines.push(line)
      // What contributed is told of one root operation.
      const stored = await read(reply, window, root, { root: add, ...(root !== undefined && { operation: add }) })
      return { lines, window: stored }
    }
    const [was, is] = [await lines(before), await lines(after)]
    if (was.window.id === is.window.id) {
      throw new HttpError(400, 'MILO_BAD_PARAMETER', 'before and after are the same window: give two')
    }
    return { before: was.window, after: is.window, ...regressions(was.lines, is.lines) }
  })

  app.get('/api/analysis/strange', async (request, reply): Promise<StrangeAnswer> => {
    const { window: given, limit, ...names } = readParameters(STRANGE, request.query, NAMES)
    const root = rootOf(names)
    const slow: ShownTrace[] = []
    const strange: StrangeTrace[] = []
    const window = await read(reply, given, root, {
      slow: line => slow.push(shownTrace(line)),
      strange: line => {
        const { share, traces, shapes, of, examples } = line
        strange.push({ ...shownTrace(line), share, traces, shapes, of, exemplars: examples })
      },
    })
    slow.sort((a, b) => b.duration - a.duration)
    strange.sort((a, b) => a.share - b.share)
    return { window, slow: slow.slice(0, limit), strange: strange.slice(0, limit) }
  })

  app.get('/api/analysis/instrumentation', async (request, reply): Promise<InstrumentationAnswer> => {
    const { window: given, limit } = readParameters(ROOTS, request.query)
    const services: Instrumented[] = []
    const window = await read(reply, given, undefined, { instrumentation: line => services.push(instrumented(line)) })
    services.sort((a, b) => b.spans - a.spans)
    return { window, services: services.slice(0, limit), ...(services.length > limit && { truncated: true }) }
  })

  app.get('/api/analysis/edges', async (request, reply): Promise<AnalysedEdgesAnswer> => {
    const { service, limit, ...given } = readParameters(EDGES, request.query, NAMES)
    const edges: EdgeFigures[] = []
    const window = await read(reply, given.window, undefined, {
      edge: line => {
        if (service !== undefined && service !== line.caller && service !== line.callee) return
        edges.push(edgeFigures(line))
      },
    })
    edges.sort((a, b) => b.calls.value - a.calls.value)
    return { window, edges: edges.slice(0, limit), ...(edges.length > limit && { truncated: true }) }
  })

  /** @throws HttpError if the window has no results */
  async function read(
    reply: FastifyReply,
    given: AnalysisWindow | undefined,
    root: Root | undefined,
    visitors: Visitors,
  ): Promise<AnalysedWindow> {
    return reads.during(1, async () => {
      const window = await windowOrLatest(askStore, given)
      const stored = await askStore(store => readLines(store, window, root, visitors, clientTurns(reply)))
      if (stored === undefined) throw noSuchAnalysis(window)
      return windowAnswer(stored)
    })
  }
}

function rootOf({
  rootService = null,
  rootName,
}: {
  rootService?: string | null
  rootName?: string
}): Root | undefined {
  return rootName === undefined ? undefined : { service: rootService, name: rootName }
}

function rootFigures(line: LineOf<'root'>): RootFigures {
  const { root, traces, weight, rootless, meanUs, p50Us, p95Us, p99Us, bands } = line
  return {
    ...root,
    ...{ traces, weight, rootless, mean: meanUs, p50: p50Us, p95: p95Us, p99: p99Us },
    bands: bands.map(({ overUs, upToUs, traces, weight, us, examples }, i) => {
      return { band: BANDS[i]!, over: overUs ?? 0, upTo: upToUs, traces, weight, us, exemplars: examples }
    }),
  }
}

/** Where its traces have no weight, as forced ones have none, its mean says nothing. */
function timeOf({ weight, mean }: RootFigures): number {
  return weight * (mean ?? 0)
}

function shownTrace({ root, traceId, start, durationUs, spans }: LineOf<'slow'>): ShownTrace {
  return { root, traceId, start, duration: durationUs, spans }
}

function edgeFigures(line: LineOf<'edge'>): EdgeFigures {
  const { caller, callerName, callee, calleeName, traces } = line
  const { calls, errors, errorShare, mean, p50, p90, p95, p99, p999, records, unknown } = line
  return {
    ...{ from: caller, fromName: callerName, to: callee, toName: calleeName },
    ...{ calls, errors, errorShare, mean, p50, p90, p95, p99, p999, records, unknown },
    exemplars: traces,
  }
}

/** Without what else a line may have. */
function instrumented(line: LineOf<'instrumentation'>): Instrumented {
  const { service, version, traces, spans, weighted, trace, orphans, skewedClocks, incomplete } = line
  const { missingServers, missingClients, unknownProbabilities } = line
  return {
    ...{ service, version, traces, spans, weighted, trace, orphans, missingServers, missingClients },
    ...{ skewedClocks, unknownProbabilities, incomplete },
  }
}
