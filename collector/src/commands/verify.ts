import type { Config } from '../config'
import type { Logger } from '../log'
import { verifyStore } from '../store/open'
import { CommandError } from './command-error'
import { mustHaveStore } from './command-store'
import { showProgress } from './progress'

/** Reads the store whole, writes what is wrong as a JSON document a line, and repairs what it can. */
export async function verify(config: Config, log: Logger, { dryRun = false }: { dryRun?: boolean }): Promise<void> {
  mustHaveStore(config, 'to verify')
  const progress = showProgress('steps')
  const verified = await verifyStore(config, {
    repair: !dryRun,
    onFinding: finding => process.stdout.write(`${JSON.stringify(finding)}\n`),
    progress: progress.update,
    log: message => log.info(message),
  }).finally(progress.stop)
  log.info(verified, verified.findings === 0 ? 'nothing is wrong' : 'verified')
  const left = verified.findings - verified.repaired
  if (left > 0) throw new CommandError(`${left} of ${verified.findings} findings remain: standard output has them`)
}
