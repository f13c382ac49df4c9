import type { Config } from '../config'
import type { Logger } from '../log'
import { migrate, pendingMigrations } from '../store/open'
import { showProgress } from './progress'

/** Creates the store's schema, or updates it. */
export async function applySchema(config: Config, log: Logger, { dryRun }: { dryRun?: boolean }): Promise<void> {
  const pending = await pendingMigrations(config)
  if (dryRun) {
    for (const migration of pending) log.info({ migration }, 'this migration would be applied')
    log.info({ store: config.store, migrations: pending.length }, 'nothing has been changed')
    return
  }
  const progress = showProgress('migrations')
  let done = 0
  await migrate(config, message => {
    progress.update(++done, pending.length)
    log.info(message)
  }).finally(progress.stop)
  log.info({ store: config.store }, 'the schema is up to date')
}
