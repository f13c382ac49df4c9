import { join } from 'node:path'
import { Command, CommanderError } from 'commander'
import { version } from '../package.json'
import { startCollector } from './collector'
import { type Config, ConfigError, loadConfig } from './config'
import { createLog, type Logger } from './log'
import { migrate } from './store/open'

/**
 * The command line. Everything goes to standard error, so that a service's standard output stays empty.
 *
 * Exit status: 0 stopped by SIGTERM or SIGINT, or migrated; 1 it couldn't start, migrate or stop (a busy port, a store
 * that doesn't answer); 2 the command line or the configuration is wrong, with one line for each problem.
 */

const write = (text: string) => process.stderr.write(text)

const program = new Command('milo-collector')
  .description("Milo's collector: takes spans from Scribe senders, keeps them, shows traces.")
  .version(version)
  .option('--config <file>', 'a YAML file; without one, defaults and MILO_COLLECTOR_… variables')
  .exitOverride()
  .configureOutput({ writeOut: write, writeErr: write })
  .showHelpAfterError('(milo-collector --help says what there is)')
  .allowExcessArguments(false)
  .action(() => configured(run))

program
  .command('migrate')
  .description("creates the store's schema, or brings it up to date, and ends")
  .option('--config <file>', 'a YAML file')
  .allowExcessArguments(false)
  .action(() => configured(applySchema))

program.parseAsync().catch(error => {
  // Commander has said what is wrong; help and version aren't.
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : 2)
  throw error
})

/** `--config` is the same before and after `migrate`. */
function configFile(): string | undefined {
  const { config } = { ...program.opts(), ...program.commands[0]!.opts() } as { config?: string }
  return config
}

async function configured(command: (config: Config, log: Logger) => Promise<void>): Promise<void> {
  let loaded: ReturnType<typeof loadConfig>
  try {
    loaded = loadConfig(configFile(), process.env)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    for (const problem of error.problems) write(`milo-collector: ${problem}\n`)
    process.exit(2)
  }
  const { config, notices } = loaded
  const log = createLog(config.log_level)
  for (const notice of notices) log.warn(notice)
  try {
    await command(config, log)
  } catch (error) {
    log.fatal({ err: error }, (error as Error).message)
    process.exit(1)
  }
}

async function run(config: Config, log: Logger): Promise<void> {
  const starting = startCollector(config, log, join(__dirname, 'ui'))
  let signalled = false
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      // A second one from somebody who doesn't want to wait.
      if (signalled) process.exit(1)
      signalled = true
      log.info({ signal }, 'stopping')
      starting
        .then(collector => collector.close())
        .then(
          () => {
            log.info('stopped')
            process.exit(0)
          },
          error => {
            log.fatal({ err: error }, 'could not stop properly')
            process.exit(1)
          },
        )
    })
  }
  await starting
}

async function applySchema(config: Config, log: Logger): Promise<void> {
  await migrate(config, message => log.info(message))
  log.info({ store: config.store }, 'the schema is up to date')
}
