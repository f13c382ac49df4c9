import type { FastifyInstance } from 'fastify'
import type { Metrics } from '../metrics'

/** The collector's state: for people, Prometheus, process managers and load balancers. */
export interface StatusOptions {
  metrics: Metrics
  /** Why the process will never work again, in sentences: a reason to restart it. */
  dead(): string[]
  /** What is wrong with the collector or its stores: a reason to have a look. */
  sick(): Promise<string[]>
  /** Why the collector can't work at the moment: a reason to send it nothing. */
  problems(): Promise<string[]>
  status(): object
  /** Whether clients may see the reasons. */
  explains(): boolean
}

export function statusRoutes(app: FastifyInstance, options: StatusOptions): void {
  const { metrics, dead, sick, problems, explains } = options
  const checks: [string, string, () => string[] | Promise<string[]>][] = [
    ['/livez', 'MILO_DEAD', dead],
    ['/healthz', 'MILO_UNHEALTHY', sick],
    ['/readyz', 'MILO_NOT_READY', problems],
  ]
  for (const [path, code, check] of checks) {
    app.get(path, async (_request, reply) => {
      const found = await check()
      reply.header('cache-control', 'no-store')
      if (found.length === 0) return { status: 'ok' }
      const said = explains() ? { error: found.join('; '), code, problems: found } : { error: 'see the log', code }
      return reply.code(503).send(said)
    })
  }

  app.get('/api/status', async () => options.status())

  app.get('/metrics', async (_request, reply) => {
    reply.type(metrics.registry.contentType)
    return metrics.registry.metrics()
  })
}
