import type { Config } from '../config'
import type { Logger } from '../log'
import { openStore } from '../store/open'
import type { Store } from '../store/store'
import { collectorId } from '../store/store-config'

/**
 * Opens the store for a command. The command has a journal of its own, so that it may run beside the collector; the embedded
 * store still belongs to one process at a time.
 */
export function openForCommand(config: Config, log: Logger): Promise<Store> {
  return openStore({ ...config, collector_id: `${collectorId(config)} command` }, message => log.info(message))
}
