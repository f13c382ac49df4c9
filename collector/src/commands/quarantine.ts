import type { Config } from '../config'
import type { Logger } from '../log'
import { openQuarantine } from '../store/open'
import { type Quarantine, retryQuarantine, use } from '../store/quarantine'
import { UsageError } from './command-error'
import { mustHaveStore, openForCommand } from './command-store'
import { showProgress } from './progress'

/** Shows records that the store has put aside, gives them to it once more, or drops them. */
type Action = 'list' | 'retry' | 'drop'

export async function quarantine(
  config: Config,
  log: Logger,
  { all = false }: { all?: boolean },
  [action, ...ids]: string[],
): Promise<void> {
  mustHaveStore(config, 'to look into')
  const open = () => openQuarantine(config, message => log.info(message))
  if (action === 'list') {
    if (all || ids.length > 0) throw new UsageError('quarantine list shows all records: leave out ids and --all')
    return use(await open(), list)
  }
  if (all === ids.length > 0) throw new UsageError(`quarantine ${action} takes either the ids of records or --all`)
  const chosen = all
    ? await use(await open(), async quarantine => (await quarantine.list()).map(({ id }) => id))
    : [...new Set(ids)]
  const progress = showProgress('records')
  try {
    if ((action as Action) === 'retry') {
      const retried = await retryQuarantine(chosen, open, () => openForCommand(config, log), progress.update)
      log.info(retried, 'retried')
    } else {
      await use(await open(), async quarantine => {
        for (const [i, id] of chosen.entries()) {
          await quarantine.drop(id)
          progress.update(i + 1, chosen.length)
        }
      })
      log.info({ dropped: chosen.length }, 'dropped')
    }
  } finally {
    progress.stop()
  }
}

/** A JSON document a line. */
async function list(quarantine: Quarantine): Promise<void> {
  for (const { id, reason, bytes, receivedUs } of await quarantine.list()) {
    const received = new Date(Number(receivedUs / 1000n)).toISOString()
    process.stdout.write(`${JSON.stringify({ id, received, bytes, reason })}\n`)
  }
}
