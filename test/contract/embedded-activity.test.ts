import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EmbeddedActivity, readEmbeddedActivity } from '../../collector/src/store/embedded/activity'
import { EmbeddedBackend } from '../../collector/src/store/embedded/backend'
import { EmbeddedFile } from '../../collector/src/store/embedded/file'
import { Pipeline } from '../../collector/src/store/pipeline/pipeline'
import { indexPolicy } from '../../collector/src/store/search/index-policy'
import { activityContract } from './activity-contract'
import { soon } from './store-contract'

const DAY_US = 86_400_000_000

activityContract(
  'embedded',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'milo-activity-'))
    const path = join(folder, 'milo.db')
    return {
      open: async clock => {
        const file = new EmbeddedFile(path, () => {})
        const fail = (error: unknown) => assert.fail(error as Error)
        const damage: string[] = []
        const backend = new EmbeddedBackend(file, indexPolicy(), {
          retentionDays: 7,
          activityDays: 400,
          analysisDays: 400,
          settleMs: 1,
          clock,
          onActivityError: error => damage.push((error as Error).message),
          onTendError: fail,
          onPutAside: fail,
        })
        const limits = { maxBacklogSpans: 1e6, maxBacklogBytes: 1e9, onSettleError: fail }
        const pipeline = await Pipeline.open(backend, limits)
        return {
          settle: async message => {
            await pipeline.append([message])
            await soon(async () => assert.equal(pipeline.backlog().spans, 0))
          },
          folder: backend.folder,
          table: new EmbeddedActivity(file),
          activity: async query => readEmbeddedActivity(file, query, Number(clock.wallUs()) - 7 * DAY_US),
          backlog: () => pipeline.backlog(),
          close: async () => {
            backend.folder.close = async () => {}
            await pipeline.close()
            await backend.close()
            file.close()
          },
        }
      },
      remove: async () => rmSync(folder, { recursive: true }),
    }
  },
  false,
)
