import { existsSync } from 'node:fs'
import type { Config } from '../config'
import type { Logger } from '../log'
import { openStore } from '../store/open'
import type { Store } from '../store/store'
import { collectorId } from '../store/store-config'
import { CommandError } from './command-error'

/** @param purpose completes "set embedded.path to the store …" */
export function mustHaveStore({ store, embedded: { path } }: Config, purpose: string): void {
  if (store !== 'embedded' || existsSync(path)) return
  throw new CommandError(`no store was found at ${path}: set embedded.path to the store ${purpose}`)
}

/**
 * Opens the store for a command. The command has its own journal, so that it may run beside the collector. The embedded store
 * can be open in one process only.
 */
export function openForCommand(config: Config, log: Logger): Promise<Store> {
  return openStore({ ...config, collector_id: `${collectorId(config)} command` }, message => log.info(message))
}
