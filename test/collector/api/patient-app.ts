import { join } from 'node:path'
import { fastify } from 'fastify'
import type { ReadActivity } from '../../../collector/src/api/activity/sums'
import { askStoreOf } from '../../../collector/src/api/ask-store'
import { errorsRoutes } from '../../../collector/src/api/errors'
import { overviewRoutes } from '../../../collector/src/api/overview'
import { createReads } from '../../../collector/src/api/read-budget'
import { searchRoutes } from '../../../collector/src/api/search'
import { sendError } from '../../../collector/src/http/errors'
import { readActivity } from '../../../collector/src/store/activity/read'
import { openEmbedded } from '../../../collector/src/store/embedded/store'
import { encodeRecord, type SpanRecord } from '../../../src/codec/span'
import { until } from '../../helpers/until'
import { cleanUp, temporaryDirectory } from '../support'

const MESSAGE_RECORDS = 500

export interface PatientApp {
  get(path: string): Promise<{ status: number; body: any }>
  /** Stores records; resolves when searches find them. */
  store(records: SpanRecord[]): Promise<void>
}

/** The routes that read for a certain time, with as much time as they need, over a real embedded store. */
export async function patientApp(): Promise<PatientApp> {
  const store = await openEmbedded(
    { path: join(temporaryDirectory(), 'milo.db'), retentionDays: 7, activityDays: 400, settleMs: 10 },
    () => {},
  )
  cleanUp.push(() => store.close())
  const app = fastify()
  app.setErrorHandler((error, _request, reply) => sendError(reply, error))
  const reads = createReads(1e9, 1e8, 20_000, Number.POSITIVE_INFINITY)
  const askStore = askStoreOf(store, () => {})
  searchRoutes(app, reads, askStore)
  const read: ReadActivity = (query, visit) => readActivity(part => store.activity(part), query, visit)
  overviewRoutes(app, reads, askStore, { read, retentionDays: 7, activityDays: 400 })
  errorsRoutes(app, reads, askStore)
  return {
    async get(path) {
      const { statusCode, body } = await app.inject({ url: path })
      return { status: statusCode, body: JSON.parse(body) }
    },
    async store(records) {
      for (let i = 0; i < records.length; i += MESSAGE_RECORDS) {
        const some = records.slice(i, i + MESSAGE_RECORDS)
        await store.append([{ body: Buffer.concat(some.map(encodeRecord)), spans: some.length }])
      }
      await until('all is settled', async () => store.backlog().spans === 0)
    },
  }
}
