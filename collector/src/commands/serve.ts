import { join } from 'node:path'
import { startCollector } from '../collector'
import { type Config, ConfigError } from '../config'
import type { Logger } from '../log'
import { webAddress } from './addresses'

/** How long a start may still take once the collector has been asked to stop. */
const START_GRACE_MS = 1_000

/**
 * Runs the collector until a signal, or a client of fb303, stops it.
 * @param read loads the configuration again
 */
export async function serve(config: Config, log: Logger, read: () => Config): Promise<void> {
  let stopping = false
  let started = false
  const stop = (why: object) => {
    // A second request means that the user doesn't want to wait.
    if (stopping) process.exit(1)
    stopping = true
    log.info(why, 'stopping')
    // A database that doesn't answer may keep a start waiting for too long.
    if (!started) setTimeout(() => started || end('stopped before it had started'), START_GRACE_MS)
    starting
      .then(collector => collector.close())
      .then(
        () => end('stopped'),
        error => {
          log.fatal({ err: error }, 'the collector could not stop properly')
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
        const others = collector.reload(read())
        if (others.length > 0)
          log.warn({ keys: others }, 'these settings have changed and take effect only after a restart')
        log.info('the configuration was reloaded')
      })
      .catch(error => {
        const problems = error instanceof ConfigError ? error.problems : [(error as Error).message]
        log.error({ problems }, 'the configuration was not reloaded: nothing changes')
      })
  }
  const control = {
    shutdown: () => stop({ fb303: 'shutdown' }),
    reinitialize: () => reload(),
  }
  const starting = startCollector(config, log, join(__dirname, 'ui'), control)
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop({ signal }))
  process.on('SIGHUP', reload)
  const { httpPort } = await starting
  started = true
  log.info(`open ${webAddress(config, httpPort)} in a browser`)
}
