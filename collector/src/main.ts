import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { version } from '../package.json'
import { createToken, hashPassword, type Scope } from './auth/credentials'
import { askPassword } from './commands/ask-password'
import { CommandError, UsageError } from './commands/command-error'
import type { ExportOptions } from './commands/export'
import type { ExportHoursOptions } from './commands/export-hours'
import type { ReduceOptions } from './commands/reduce'
import type { Config } from './config'
import type { Logger } from './log'
import { StartError } from './start-error'
import { StoreError } from './store/store'

/**
 * The command line. Each command's code is loaded when it runs: thousands of `map` and `reduce` may run beside each other, and need
 * neither the servers nor the databases' drivers. Messages go to standard error, and only the output that a command was asked for goes to standard output.
 *
 * Exit status:
 *   0  the command is done, or SIGTERM or SIGINT stopped the collector
 *   1  it couldn't start, do its work or stop: a port is busy, a store doesn't answer
 *   2  the command line or the configuration is wrong; each problem is one line
 */

const REPORTER = 'report counters as Hadoop Streaming reads them (default: if it runs this)'

const write = (text: string) => process.stderr.write(text)
/** Commander passes each action its arguments, then its options, then the command. */
type Job<O> = (config: Config, log: Logger, options: O, args: string[]) => Promise<void>

const program = new Command('milo-collector')
  .description("Milo's collector: receives spans, stores them and shows traces.")
  .version(version)
  .option('--config <file>', 'a YAML file; without it, defaults and MILO_COLLECTOR_… variables apply', notEmpty)
  .exitOverride()
  .configureOutput({ writeOut: write, writeErr: write })
  .helpCommand(false)
  .showHelpAfterError('(milo-collector --help lists commands and options)')
  // Without a command, the collector itself runs.
  .argument('[command]')
  .usage('[options] [command]')
  .allowExcessArguments(true)
  .action((word: string | undefined, ...others: unknown[]) => {
    if (word !== undefined) unknownCommand(word)
    return withConfig(() => {
      const { serve } = require('./commands/serve') as typeof import('./commands/serve')
      return (config, log) =>
        serve(config, log, () => configuration().loadConfig(configFile(program), process.env).config)
    })(...others)
  })

program
  .command('help')
  .description('lists the commands, or shows the options of one')
  .argument('[command]')
  .allowExcessArguments(false)
  .action((word: string | undefined) => {
    const about = word === undefined ? program : program.commands.find(command => command.name() === word)
    return about === undefined ? unknownCommand(word!) : about.help()
  })

command('migrate', "creates the store's schema, or brings it up to date")
  .option('--dry-run', 'print what would be done, and change nothing')
  .action(withConfig(() => (require('./commands/migrate') as typeof import('./commands/migrate')).applySchema))

command('replay', 'indexes spans that a collector accepted before it was lost for good')
  .requiredOption('--collector <id>', 'its collector_id, as GET /api/status shows it', notEmpty)
  .action(withConfig(() => (require('./commands/replay') as typeof import('./commands/replay')).replay))

command('quarantine', 'lists, retries or drops records that were accepted and that a database refuses for good')
  .addArgument(new Argument('<action>', 'what to do').choices(['list', 'retry', 'drop']))
  .argument('[id...]', 'records, as list names them')
  .option('--all', 'all records')
  .action(withConfig(() => (require('./commands/quarantine') as typeof import('./commands/quarantine')).quarantine))

command('verify', 'reads the store whole, says what is wrong with it, and repairs what it can')
  .option('--dry-run', 'change nothing')
  .action(withConfig(() => (require('./commands/verify') as typeof import('./commands/verify')).verify))

command(
  'doctor',
  'sends a span to the collector that runs by this configuration, looks for it, and says on one page what is wrong',
).action(withConfig(() => (require('./commands/doctor') as typeof import('./commands/doctor')).doctor))

command('import', 'imports spans from files into the store')
  .argument(
    '<file...>',
    'JSON of Milo, OTLP, Zipkin or Jaeger, as one document or one a line, gzipped or not; or raw records',
    (file: string, files: string[] = []) => [...files, notEmpty(file)],
  )
  .action(withConfig(() => (require('./commands/import') as typeof import('./commands/import')).importAll))

command(
  'export',
  'writes traces from the store, newest first; or, with --hours, all that was accepted in some hours, for analyses',
)
  .option('--query <text>', "which traces, in the search box's language (default: all)", '')
  .option(
    '--from <time>',
    'traces from this time on, such as -1h or 2026-11-22T17:30:00Z; with --hours, the address of a running collector',
  )
  .option('--to <time>', 'traces up to this time; with --hours, a folder, or hdfs://NAMENODE/folder')
  .option('--limit <number>', 'maximum number of traces', wholeNumber)
  .addOption(
    new Option('--form <form>', 'one document for each trace (ndjson), or one for all (milo)')
      .choices(['ndjson', 'milo'])
      .default('ndjson'),
  )
  .option('--output <file>', 'file to write (default: standard output)', notEmpty)
  .option(
    '--hours <range>',
    'whole hours, FROM..TO, such as -24h..now or 2026-11-29..2026-11-30: a file a collector and hour',
  )
  .addOption(new Option('--compress <format>', 'with --hours: compress the files').choices(['gzip', 'zstd']))
  .option('--token-file <file>', "with --hours and --from: the collector's token; or set MILO_EXPORT_TOKEN", notEmpty)
  .option('--hdfs-token-file <file>', 'with --hours: a delegation token of HDFS; or set MILO_HDFS_TOKEN', notEmpty)
  .action(withConfig(() => exportTraces))

program
  .command('map')
  .description('offline analysis: turns lines of records, as export --hours writes them, into a line for each trace')
  .option('--reporter', REPORTER)
  .allowExcessArguments(false)
  .action((options: { reporter?: boolean }) => {
    const { map } = require('./commands/map') as typeof import('./commands/map')
    return lineProgram(() => map(options))
  })

program
  .command('reduce')
  .description('offline analysis: turns sorted lines of traces into partial results, or these into the results')
  .option('--merge', 'add up partial results and write the results, a JSON document a line')
  .option('--hours <from..to>', 'only traces that began in these hours (UTC), such as 2026-11-30T17..2026-11-30T18')
  .option('--only <names>', 'only these analyses, separated by commas', words)
  .option('--max-spans <number>', 'how many records of a trace are analysed at most', wholeNumber, 100_000)
  .option('--reporter', REPORTER)
  .allowExcessArguments(false)
  .action((options: ReduceOptions) => {
    const { reduce } = require('./commands/reduce') as typeof import('./commands/reduce')
    return lineProgram(() => reduce(options))
  })

command('load', 'puts results of an offline analysis into the store, for the page Analysis')
  .argument('<file...>', 'what milo-collector reduce --merge wrote, one window each; - for standard input')
  .option(
    '--to <url>',
    'a running collector that gets them (default: the configured store, or the collector that has it open)',
  )
  .option(
    '--token-file <file>',
    'a file with a token for that collector (default: the variable MILO_LOAD_TOKEN)',
    notEmpty,
  )
  .action(withConfig(() => (require('./commands/load') as typeof import('./commands/load')).loadAll))

program
  .command('compare-windows')
  .description('offline analysis: which operations made root operations slower or faster between two windows')
  .argument('<before>', 'a file of results, as reduce --merge writes them')
  .argument('<after>', 'another one')
  .option('--json', 'write all that was compared, a JSON document for each root operation')
  .allowExcessArguments(false)
  .action((before: string, after: string, options: { json?: boolean }) => {
    const { compareWindows } = require('./commands/compare-windows') as typeof import('./commands/compare-windows')
    return lineProgram(async () => {
      process.stdout.write(`${(await compareWindows(before, after, options)).join('\n')}\n`)
    })
  })

program
  .command('hash-password')
  .description('asks for a password and prints the line for http.users')
  .argument('<name>')
  .allowExcessArguments(false)
  .action(async (name: string) => {
    process.stdout.write(`${await orRefuse(async () => hashPassword(name, await askPassword()))}\n`)
  })

program
  .command('token')
  .description('creates a token for a program and prints the line for http.tokens')
  .argument('<name>', "the program's name")
  .addOption(
    new Option(
      '--scope <scope>',
      'what the token allows: reading traces and metrics (read), sending spans (ingest), or everything (full)',
    )
      .choices(['full', 'read', 'ingest'])
      .default('full'),
  )
  .allowExcessArguments(false)
  .action(async (name: string, { scope }: { scope: Scope }) => {
    const { token, line } = await orRefuse(async () => createToken(name, scope))
    process.stdout.write(`token, shown this once: ${token}\nline for http.tokens:   ${line}\n`)
  })

program.parseAsync().catch(error => {
  // Commander has printed what is wrong; help and version end with exit code 0.
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : 2)
  throw error
})

function exportTraces(
  config: Config,
  log: Logger,
  options: ExportOptions & Partial<ExportHoursOptions>,
): Promise<void> {
  const { hours, to, query, form, limit, output, compress, tokenFile, hdfsTokenFile } = options
  if (hours === undefined) {
    const needs = Object.entries({ compress, 'token-file': tokenFile, 'hdfs-token-file': hdfsTokenFile })
    const given = needs.find(([, value]) => value !== undefined)
    if (given !== undefined) throw new UsageError(`--${given[0]} goes with --hours: give that, or leave it out`)
    const { exportAll } = require('./commands/export') as typeof import('./commands/export')
    return exportAll(config, log, options)
  }
  const isOther = query !== '' || form !== 'ndjson' || limit !== undefined || output !== undefined
  if (isOther) throw new UsageError('--hours takes all spans: leave out --query, --form, --limit and --output')
  if (to === undefined) throw new UsageError('--hours writes files: give --to a folder, or hdfs://NAMENODE/folder')
  const { exportByHours } = require('./commands/export-hours') as typeof import('./commands/export-hours')
  return exportByHours(config, log, { ...options, hours, to })
}

function unknownCommand(word: string): never {
  const near = configuration().nearest(word.replace(/^-+/, ''), [
    'version',
    ...program.commands.map(command => command.name()),
  ])
  const meant = near === undefined ? '' : `; did you mean ${near === 'version' ? '--version' : near}?`
  return program.error(`error: unknown command '${word}'${meant}`, { exitCode: 2 })
}

/** `--config` may be given before or after the command. */
function command(name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .option('--config <file>', 'a YAML file', notEmpty)
    .allowExcessArguments(false)
}

function wholeNumber(value: string): number {
  if (!/^[1-9]\d{0,11}$/.test(value)) throw new InvalidArgumentError('give a whole number above 0')
  return Number(value)
}

function words(value: string): string[] {
  return notEmpty(value).split(',')
}

/** Runs a program that reads lines. */
async function lineProgram(run: () => void | Promise<void>): Promise<void> {
  try {
    await run()
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (error instanceof UsageError) program.error(`error: ${message}`, { exitCode: 2 })
    if (!(error instanceof CommandError) && !/^E[A-Z]+$/.test(code ?? '')) throw error
    write(`milo-collector: ${code === 'EPIPE' ? 'standard output was closed before all was written' : message}\n`)
    process.exit(1)
  }
}

function notEmpty(value: string): string {
  if (value.trim() === '') throw new InvalidArgumentError('it is empty: give a value')
  return value
}

/** @param load returns the job's code */
function withConfig<O>(load: () => Job<O>): (...actionArgs: unknown[]) => Promise<void> {
  return async (...actionArgs) => {
    const command = actionArgs.at(-1) as Command
    const { ConfigError, loadConfig } = configuration()
    let loaded: ReturnType<typeof loadConfig>
    try {
      loaded = loadConfig(configFile(command), process.env)
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      for (const problem of error.problems) write(`milo-collector: ${problem}\n`)
      process.exit(2)
    }
    const { config, notices } = loaded
    const { createLog } = require('./log') as typeof import('./log')
    const log = createLog(config.log_level)
    for (const notice of notices) log.warn(notice)
    try {
      await load()(config, log, command.opts() as O, command.args)
    } catch (error) {
      if (error instanceof UsageError) program.error(`error: ${error.message}`, { exitCode: 2 })
      fail(log, error)
    }
  }
}

/** Logs one line for what an operator can fix, and a stack for what only a developer can. */
function fail(log: Logger, error: unknown): never {
  const { message, code } = error as NodeJS.ErrnoException
  const isExpected =
    error instanceof StartError ||
    error instanceof StoreError ||
    error instanceof CommandError ||
    /^E[A-Z]+$/.test(code ?? '')
  if (isExpected) log.fatal({ code }, message)
  else log.fatal({ err: error }, message)
  process.exit(1)
}

function configuration() {
  return require('./config') as typeof import('./config')
}

function configFile(command: Command): string | undefined {
  return (command.opts().config ?? program.opts().config) as string | undefined
}

async function orRefuse<V>(work: () => Promise<V>): Promise<V> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    write(`milo-collector: ${error.message}\n`)
    process.exit(2)
  }
}
