import type { Config } from '../config'
import type { Logger } from '../log'
import { replayCollector } from '../store/open'
import { CommandError } from './command-error'
import { showProgress } from './progress'

/** Indexes the spans that a lost collector accepted but didn't index. */
export async function replay(config: Config, log: Logger, { collector }: { collector: string }): Promise<void> {
  if (config.store !== 'cassandra-mysql') {
    throw new CommandError(
      `store: ${config.store} has only its own journal, which every start replays: set store to cassandra-mysql`,
    )
  }
  const progress = showProgress('journal')
  const spans = await replayCollector(config, collector, message => log.info(message), progress.update).finally(
    progress.stop,
  )
  log.info({ collector, spans }, 'replayed')
}
