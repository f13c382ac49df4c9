import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { version } from '../package.json'
import { ApiError } from './api/errors'
import { readSearch } from './api/parameters'
import { createToken, hashPassword, type Scope } from './auth/credentials'
import { StartError, startCollector } from './collector'
import { CommandError } from './commands/command-error'
import { type ExportForm, exportTraces, openOutput } from './commands/export'
import { importFiles } from './commands/import'
import { showProgress } from './commands/progress'
import { type Config, ConfigError, loadConfig, nearest } from './config'
import { createLog, type Logger } from './log'
import { parse, print } from './query'
import { migrate, openStore, pendingMigrations, replayCollector } from './store/open'
import { type Store, StoreError } from './store/store'
import { collectorId } from './store/store-config'

/**
 * The command line. What it says goes to standard error, so that a service's standard output stays empty; standard output
 * is for what a command was asked for.
 *
 * Exit status: 0 stopped by SIGTERM or SIGINT, or done; 1 it couldn't start, do it or stop (a busy port, a store that
 * doesn't answer); 2 the command line or the configuration is wrong, with one line for each problem.
 */

const write = (text: string) => process.stderr.write(text)
/** Commander hands each action its arguments, then its options, then the command. */
type Job<O> = (config: Config, log: Logger, options: O, args: string[]) => Promise<void>

/** How long a start may go on once the collector is to stop. */
const START_GRACE_MS = 1_000

const program = new Command('milo-collector')
  .description("Milo's collector: takes spans, keeps them, shows traces.")
  .version(version)
  .option('--config <file>', 'a YAML file; without one, defaults and MILO_COLLECTOR_… variables', notEmpty)
  .exitOverride()
  .configureOutput({ writeOut: write, writeErr: write })
  .helpCommand(false)
  .showHelpAfterError('(milo-collector --help says what there is)')
  // Without it, the collector itself.
  .argument('[command]')
  .usage('[options] [command]')
  .allowExcessArguments(true)
  .action((word: string | undefined, ...given: unknown[]) => {
    if (word !== undefined) unknownCommand(word)
    return withConfig(run)(...given)
  })

program
  .command('help')
  .description('says what there is, or what a command takes')
  .argument('[command]')
  .allowExcessArguments(false)
  .action((word: string | undefined) => {
    const about = word === undefined ? program : program.commands.find(command => command.name() === word)
    return about === undefined ? unknownCommand(word!) : about.help()
  })

command('migrate', "creates the store's schema, or brings it up to date, and ends")
  .option('--dry-run', 'only says what would be done')
  .action(withConfig(applySchema))

command('replay', 'indexes what a collector that will not come back had accepted last, and ends')
  .requiredOption('--collector <id>', 'its collector_id, as GET /api/status says it', notEmpty)
  .action(withConfig(replay))

command('import', 'puts spans from files into the store, and ends')
  .argument(
    '<file...>',
    'of Milo, OTLP, Zipkin or Jaeger: one document or one in each line, zipped or not; or raw records',
    (file: string, files: string[] = []) => [...files, notEmpty(file)],
  )
  .action(withConfig(importAll))

command('export', 'writes traces out of the store, newest first, and ends')
  .option('--query <text>', "which, in the search box's language; all without it", '')
  .option('--from <time>', 'those from this time on: -1h, 2026-11-22T17:30:00Z')
  .option('--to <time>', 'those up to this time')
  .option('--limit <number>', 'how many at most', wholeNumber)
  .addOption(
    new Option('--form <form>', 'one document for each trace, or for all')
      .choices(['ndjson', 'milo'])
      .default('ndjson'),
  )
  .option('--output <file>', 'where to; standard output without it', notEmpty)
  .action(withConfig(exportAll))

program
  .command('hash-password')
  .description('asks for a password, and prints the line for http.users')
  .argument('<name>')
  .allowExcessArguments(false)
  .action(async (name: string) => {
    process.stdout.write(`${await orRefuse(async () => hashPassword(name, await askPassword()))}\n`)
  })

program
  .command('token')
  .description('makes a token for a program, and prints the line for http.tokens')
  .argument('<name>', "the program's")
  .addOption(
    new Option('--scope <scope>', 'what it may: read traces and metrics, send spans (ingest), or everything (full)')
      .choices(['full', 'read', 'ingest'])
      .default('full'),
  )
  .allowExcessArguments(false)
  .action(async (name: string, { scope }: { scope: Scope }) => {
    const { token, line } = await orRefuse(async () => createToken(name, scope))
    process.stdout.write(`token, shown this once: ${token}\nline for http.tokens:   ${line}\n`)
  })

program.parseAsync().catch(error => {
  // Commander has said what is wrong; help and version aren't.
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : 2)
  throw error
})

function unknownCommand(word: string): never {
  const near = nearest(word.replace(/^-+/, ''), ['version', ...program.commands.map(command => command.name())])
  const meant = near === undefined ? '' : `; did you mean ${near === 'version' ? '--version' : near}?`
  return program.error(`error: unknown command '${word}'${meant}`, { exitCode: 2 })
}

/** `--config` is the same before and after the command. */
function command(name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .option('--config <file>', 'a YAML file', notEmpty)
    .allowExcessArguments(false)
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,11}$/.test(text)) throw new InvalidArgumentError('give a whole number above 0')
  return Number(text)
}

function notEmpty(text: string): string {
  if (text.trim() === '') throw new InvalidArgumentError('it is empty: give one')
  return text
}

function withConfig<O>(job: Job<O>): (...given: unknown[]) => Promise<void> {
  return async (...given) => {
    const command = given.at(-1) as Command
    let loaded: ReturnType<typeof loadConfig>
    try {
      loaded = loadConfig(configFile(command), process.env)
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      for (const problem of error.problems) write(`milo-collector: ${problem}\n`)
      process.exit(2)
    }
    const { config, notices } = loaded
    const log = createLog(config.log_level)
    for (const notice of notices) log.warn(notice)
    try {
      await job(config, log, command.opts() as O, command.args)
    } catch (error) {
      if (error instanceof CommanderError) throw error
      fail(log, error)
    }
  }
}

/** One line for what an operator can mend; a stack for what only we can. */
function fail(log: Logger, error: unknown): never {
  const { message, code } = error as NodeJS.ErrnoException
  const isExpected =
    error instanceof StartError ||
    error instanceof StoreError ||
    error instanceof CommandError ||
    error instanceof ApiError ||
    /^E[A-Z]+$/.test(code ?? '')
  if (isExpected) log.fatal({ code }, message)
  else log.fatal({ err: error }, message)
  process.exit(1)
}

function configFile(command: Command): string | undefined {
  return (command.opts().config ?? program.opts().config) as string | undefined
}

async function run(config: Config, log: Logger): Promise<void> {
  let stopping = false
  let started = false
  const stop = (why: object) => {
    // A second time, from somebody who doesn't want to wait.
    if (stopping) process.exit(1)
    stopping = true
    log.info(why, 'stopping')
    // Databases that don't answer may hold a start for longer than anybody waits.
    if (!started) setTimeout(() => started || end('stopped before it had started'), START_GRACE_MS)
    starting
      .then(collector => collector.close())
      .then(
        () => end('stopped'),
        error => {
          log.fatal({ err: error }, 'could not stop properly')
          process.exit(1)
        },
      )
  }
  const end = (message: string) => {
    log.info(message)
    process.exit(0)
  }
  const reload = () => {
    if (stopping) return
    starting
      .then(collector => {
        const next = loadConfig(configFile(program), process.env)
        const others = collector.reload(next.config)
        if (others.length > 0) log.warn({ keys: others }, 'changed, but taken over only by a restart')
        log.info('configuration reloaded')
      })
      .catch(error => {
        const problems = error instanceof ConfigError ? error.problems : [(error as Error).message]
        log.error({ problems }, 'configuration not reloaded: everything stays as it was')
      })
  }
  const control = {
    shutdown: () => stop({ fb303: 'shutdown' }),
    reinitialize: () => reload(),
  }
  const starting = startCollector(config, log, join(__dirname, 'ui'), control)
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop({ signal }))
  process.on('SIGHUP', reload)
  await starting
  started = true
}

async function applySchema(config: Config, log: Logger, { dryRun }: { dryRun?: boolean }): Promise<void> {
  const pending = await pendingMigrations(config)
  if (dryRun) {
    for (const migration of pending) log.info({ migration }, 'would be applied')
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

async function replay(config: Config, log: Logger, { collector }: { collector: string }): Promise<void> {
  if (config.store !== 'cassandra-mysql') {
    throw new CommandError(
      `store: ${config.store} has no journal but its own, which every start replays: give store: cassandra-mysql`,
    )
  }
  const progress = showProgress('journal')
  const spans = await replayCollector(config, collector, message => log.info(message), progress.update).finally(
    progress.stop,
  )
  log.info({ collector, spans }, 'replayed')
}

/** A journal of its own, so that it may run beside the collector; the embedded store is one process's all the same. */
function asCommand(config: Config): Config {
  return { ...config, collector_id: `${collectorId(config)} command` }
}

async function importAll(config: Config, log: Logger, _options: object, files: string[]): Promise<void> {
  let store: Store | undefined
  const storeFor = async () => {
    if (store !== undefined) return store
    const { path } = config.embedded
    if (config.store === 'embedded' && !existsSync(path))
      log.warn({ path }, 'there was no store here: a new one is made')
    return (store = await openStore(asCommand(config), message => log.info(message)))
  }
  const progress = showProgress('import')
  try {
    const { spans, rejected, leftOut } = await importFiles(files, storeFor, progress.update)
    progress.stop()
    if (leftOut.length > 0) log.warn({ leftOut }, 'spans are stored without fields that can not be read')
    if (rejected.size > 0) log.warn({ rejected: Object.fromEntries(rejected) }, 'unusable spans left out')
    log.info({ spans, files: files.length }, 'imported')
  } finally {
    progress.stop()
    await store?.close()
  }
}

interface ExportOptions {
  query: string
  from?: string
  to?: string
  limit?: number
  form: ExportForm
  output?: string
}

function readQuery(q: string): ReturnType<typeof readSearch> {
  try {
    return readSearch({ q }, Date.now() * 1000)
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    return program.error(`error: ${error.message.replace(/^q: /, '')}`, { exitCode: 2 })
  }
}

async function exportAll(config: Config, log: Logger, options: ExportOptions): Promise<void> {
  const { query: words, from, to, limit = Number.POSITIVE_INFINITY, form, output } = options
  const times = [...(from === undefined ? [] : [`from:${from}`]), ...(to === undefined ? [] : [`to:${to}`])]
  const q = [words, ...times].join(' ')
  const { limit: _, ...query } = readQuery(q)
  const { path } = config.embedded
  if (config.store === 'embedded' && !existsSync(path)) {
    throw new CommandError(`there is no store at ${path}, so nothing to export: give embedded.path`)
  }
  const file = output === undefined ? undefined : await openOutput(output)
  const progress = showProgress('export')
  try {
    const store = await openStore(asCommand(config), message => log.info(message))
    try {
      const out = file?.out ?? process.stdout
      const total = Number.isFinite(limit) ? limit : 0
      const update = (done: number) => progress.update(done, total)
      const exported = await exportTraces(store, query, limit, form, out, update, config.max_trace_bytes)
      await file?.keep()
      progress.stop()
      log.info({ ...exported }, 'exported')
      if (exported.traces === 0 && q.trim() !== '')
        log.warn(
          { query: print(parse(q).query) },
          'no trace matches; a word that names no field is looked for in annotations',
        )
      if (exported.truncated > 0) {
        log.warn({ traces: exported.truncated }, 'only a part of some traces was exported: raise max_trace_bytes')
      }
    } finally {
      progress.stop()
      await store.close()
    }
  } catch (error) {
    await file?.discard()
    throw error
  }
}

/** From standard input: typed without being shown, or the first line of a pipe. */
async function askPassword(): Promise<string> {
  const { isTTY = false } = process.stdin
  if (isTTY) write('password: ')
  // What readline shows of the typing goes nowhere.
  const output = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({ input: process.stdin, output, terminal: isTTY })
  for await (const line of lines) {
    lines.close()
    if (isTTY) write('\n')
    if (line.length < 8) throw new RangeError('a password has 8 characters at least')
    return line
  }
  throw new RangeError('no password on standard input')
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
