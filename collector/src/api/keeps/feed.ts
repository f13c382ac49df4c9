import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { tryLater } from '../../http/errors'
import { type FeedReply, MAX_POLLS } from '../../keep/feed'
import type { Keeping } from '../../keep/keeping'
import { unlisted } from '../../store/keeps'
import { parsed, readParameters, string } from '../parameters'

/** The feed of what to keep after the fact, for processes that report over HTTP: what `keeps` is on the Scribe port. */

/** As every sender of spans may ask, and holds the answer for most of the time. */
const FOR_SENDERS = { config: { takesSpans: true } }

const integer = (remedy: string) =>
  parsed(
    value => (/^-?\d{1,19}$/.test(value) ? BigInt.asIntN(64, BigInt(value)) : undefined),
    remedy,
    'MILO_BAD_PARAMETER',
  )

const FEED = z.strictObject({
  since: integer('give the Milo-Next of the last answer, or 0').default(0n),
  wait: integer('give milliseconds, up to 30000').default(0n),
  service: string.default(''),
  host: string.default(''),
  process: integer('give a random number of 64 bits').default(0n),
  history: integer('give microseconds since the epoch').default(0n),
  made: integer('give microseconds since the epoch').default(0n),
  now: integer('give microseconds since the epoch').default(0n),
  listening: string.default(''),
})

export function feedRoute(app: FastifyInstance, { feed, rings }: Keeping): void {
  app.get('/api/keeps/feed', FOR_SENDERS, async (request, reply) => {
    const { since, wait, service, host, process, history, made, now, listening } = readParameters(FEED, request.query)
    const of = { service, host, process, address: request.ip }
    const ring = { ...of, historyUs: Number(history), madeUs: Number(made), listening: unlisted(listening) }
    const answered = process === 0n ? () => {} : rings.asks(ring, Number(now))
    let hasLeft = false
    const { next, keeps } = await new Promise<FeedReply>((resolve, reject) => {
      const poll = feed.poll(since, Number(wait), resolve)
      if (poll === 'too many') reject(tryLater(503, `${MAX_POLLS} polls wait already`))
      else {
        reply.raw.once('close', () => {
          // An answer ends the connection's interest as well; without one, the process has gone.
          hasLeft = !reply.raw.writableFinished
          poll?.end()
        })
      }
    }).finally(() => {
      answered()
      if (hasLeft) rings.left(process)
    })
    return reply.header('milo-next', String(next)).type('application/octet-stream').send(keeps)
  })
}
