import { Readable } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { ExportCollectorsAnswer, ExportEnd } from '../http/answers'
import { HOUR_US, HOURS_REMEDY, type Hours, parseHours } from '../offline/hours'
import type { HourReader } from '../store/store'
import type { AskStore } from './ask-store'
import { oneOf, parsed, readParameters, string } from './parameters'
import type { Reads } from './read-budget'

/** What was accepted, by the hour, as lines for analyses elsewhere (docs/offline.md). */

/** How many damaged rows the end names; all are counted. */
const MAX_NAMED = 100

const EXPORT = z.strictObject({
  hours: parsed(hoursOf, HOURS_REMEDY, 'MILO_BAD_TIME'),
  collector: string.optional(),
  end: oneOf(['true', 'false']).default('false'),
})
function hoursOf(text: string): Hours | undefined {
  try {
    return parseHours(text)
  } catch {
    return undefined
  }
}
const NOTHING = z.strictObject({})

export function exportRoutes(app: FastifyInstance, reads: Reads, askStore: AskStore<HourReader>): void {
  app.get('/api/export/collectors', async (request): Promise<ExportCollectorsAnswer> => {
    readParameters(NOTHING, request.query)
    return { collectors: await askStore(store => store.hourSources()) }
  })

  // Fastify would read all of it to answer HEAD.
  app.get('/api/export', { exposeHeadRoute: false }, async (request, reply) => {
    const { hours, collector, end } = readParameters(EXPORT, request.query)
    const grant = await reads.exports.take(1)
    if (reply.raw.closed) grant.release()
    else reply.raw.once('close', () => grant.release())
    // To look for one among all of them would cost more than to find that it has nothing.
    const sources = collector === undefined ? await askStore(store => store.hourSources()) : [{ collector }]
    // Other exports wait for it.
    reply.raw.setTimeout(reads.answerStandstillMs)
    reply.type('text/tab-separated-values; charset=utf-8')
    return Readable.from(lines(sources, hours, end === 'true'), { objectMode: false })
  })

  /** Hour by hour, of one collector after the other. */
  async function* lines(sources: { collector: string }[], hours: Hours, hasEnd: boolean): AsyncGenerator<Buffer> {
    const end: ExportEnd = { records: 0, damaged: [], damagedRows: 0 }
    for (let hourUs = hours.fromUs; hourUs < hours.toUs; hourUs += HOUR_US) {
      for (const { collector } of sources) {
        const pages = (await askStore(store => store.readHour(collector, hourUs)))[Symbol.asyncIterator]()
        try {
          for (;;) {
            const { done, value: page } = await askStore(() => pages.next())
            if (done) break
            end.records += page.records
            end.damagedRows += page.damaged.length
            end.damaged.push(...page.damaged.slice(0, MAX_NAMED - end.damaged.length))
            if (page.lines.length > 0) yield page.lines
          }
        } finally {
          await pages.return?.()
        }
      }
    }
    if (hasEnd) yield Buffer.from(JSON.stringify(end))
  }
}
