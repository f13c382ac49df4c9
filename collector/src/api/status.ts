import type { FastifyInstance } from 'fastify'
import type { Metrics } from '../metrics'

/** How the collector is: for people, for Prometheus, and for who restarts it or sends it requests. */
export interface StatusOptions {
  metrics: Metrics
  /** What keeps the process from ever working again, in sentences: a reason to restart it. */
  dead(): string[]
  /** What is wrong with it or its stores: a reason to look. */
  sick(): Promise<string[]>
  /** What keeps it from working now: a reason to send nothing. */
  problems(): Promise<string[]>
  status(): object
  /** Whether who asks may hear the reasons. */
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
