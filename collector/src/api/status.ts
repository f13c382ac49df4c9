import type { FastifyInstance } from 'fastify'
import type { SettingsAnswer, StatusAnswer } from '../http/answers'
import type { Metrics } from '../metrics'

/** The collector's state: for people, Prometheus, process managers and load balancers. */
export interface StatusOptions {
  metrics: Metrics
  /** Returns why the process will never work again without a restart, in sentences. An empty list means that it is alive. */
  liveness(): string[]
  /** Returns what is wrong with the collector or its stores and needs attention. An empty list means that it is healthy. */
  health(): Promise<string[]>
  /** Returns why the collector can't take requests at the moment. An empty list means that it is ready. */
  readiness(): Promise<string[]>
  status(): StatusAnswer
  /** What the web interface must know of the configuration. */
  settings(): SettingsAnswer
  /** Whether clients may see the reasons. */
  explains(): boolean
}

export function statusRoutes(app: FastifyInstance, options: StatusOptions): void {
  const { metrics, liveness, health, readiness, explains } = options
  const checks: [string, string, () => string[] | Promise<string[]>][] = [
    ['/livez', 'MILO_DEAD', liveness],
    ['/healthz', 'MILO_UNHEALTHY', health],
    ['/readyz', 'MILO_NOT_READY', readiness],
  ]
  for (const [path, code, check] of checks) {
    app.get(path, async (_request, reply) => {
      const problems = await check()
      reply.header('cache-control', 'no-store')
      if (problems.length === 0) return { status: 'ok' }
      const answer = explains() ? { error: problems.join('; '), code, problems } : { error: 'see the log', code }
      return reply.code(503).send(answer)
    })
  }

  app.get('/api/status', async () => options.status())
  app.get('/api/settings', async () => options.settings())

  app.get('/metrics', async (_request, reply) => {
    reply.type(metrics.registry.contentType)
    return metrics.registry.metrics()
  })
}
