import type { AddressInfo } from 'node:net'
import { createApi } from './api'
import type { Config } from './config'
import { createFb303, type Status } from './fb303'
import { createIngest } from './ingest'
import type { Logger } from './log'
import { createMetrics, flatCounters } from './metrics'
import { createScribeServer } from './scribe-server'
import { openStore } from './store/open'
import { type Store, StoreError } from './store/store'

/** The whole collector: its parts, opened in order and closed in reverse. */
export interface Collector {
  /** Where it really listens, Scribe's ports in the order of the configuration. */
  scribePorts: number[]
  httpPort: number
  /** Answers what is in flight, within 10 s, and lets go of the store. */
  close(): Promise<void>
}

/** Why the collector can't start, in one sentence with the remedy. */
export class StartError extends Error {}

/** How long calls in flight may take once the collector stops. */
const STOP_DEADLINE_MS = 10_000
/** A store that doesn't answer for so long is not healthy. */
const CHECK_DEADLINE_MS = 5_000

/**
 * Opens the store, then Scribe's ports, then HTTP, and says so in the log: a line `listening` with listener, host and port
 * for each (the real port, also where 0 was asked for), and `ready` at the end.
 * @param uiDir where the built web interface is
 * @throws StartError, or StoreError with what the store says
 */
export async function startCollector(config: Config, log: Logger, uiDir: string): Promise<Collector> {
  const metrics = createMetrics()
  const store = await openStore(config, message => log.info(message))
  let state: 'STARTING' | 'ALIVE' | 'STOPPING' = 'STARTING'
  const ingest = createIngest({
    store,
    category: config.scribe.category,
    maxInFlightBytes: config.max_in_flight_bytes,
    metrics,
    log,
  })
  const status = (): Status => (state === 'ALIVE' && ingest.storeFails() ? 'WARNING' : state)
  const scribe = createScribeServer({
    ingest,
    fb303: createFb303(status, () => flatCounters(metrics.registry)),
    maxFrameBytes: config.max_frame_bytes,
    maxUnfinishedBytes: config.max_in_flight_bytes,
    metrics,
    log,
  })
  const api = createApi({
    store,
    metrics,
    problems: async () => {
      const closed = scribe.listeners().filter(({ open }) => !open)
      return [
        ...closed.map(({ host, port }) => `Scribe's listener on ${host}:${port} is closed`),
        ...(await storeProblems(store, log)),
      ]
    },
    uiDir,
    host: config.http.host,
    allowedHosts: config.http.allowed_hosts,
    log,
  })

  async function close(): Promise<void> {
    state = 'STOPPING'
    await scribe.close(STOP_DEADLINE_MS)
    const timer = setTimeout(() => api.server.closeAllConnections(), STOP_DEADLINE_MS)
    await api.close()
    clearTimeout(timer)
    await store.close()
  }

  try {
    const scribePorts = await listenScribe()
    await listen('http.port', config.http.host, config.http.port, () =>
      api.listen({ host: config.http.host, port: config.http.port }),
    )
    const httpPort = (api.server.address() as AddressInfo).port
    log.info({ listener: 'http', host: config.http.host, port: httpPort }, 'listening')
    state = 'ALIVE'
    log.info('ready')
    return { scribePorts, httpPort, close }
  } catch (error) {
    await close()
    throw error
  }

  /**
   * The second port is Scribe's own, so that applications that send to the host's Scribe reach the collector where there is
   * none. Where there is one, it may keep its port: as a default, that is no reason to stay away, only to say what to do.
   * A port that somebody chose is one that senders use, and a collector without it would look well and receive nothing.
   */
  async function listenScribe(): Promise<number[]> {
    const host = config.collector_host
    const ports: number[] = []
    for (const [i, wanted] of config.collector_port.entries()) {
      try {
        const port = await listen('collector_port', host, wanted, () => scribe.listen(host, wanted))
        ports.push(port)
        log.info({ listener: 'scribe', host, port }, 'listening')
      } catch (error) {
        const busy = (error as StartError).cause as NodeJS.ErrnoException | undefined
        if (config.collectorPortGiven || i === 0 || busy?.code !== 'EADDRINUSE') throw error
        log.warn(
          { host, port: wanted },
          `port ${wanted} is taken, by this host's own Scribe as it seems: let it forward category ${config.scribe.category} to ${host}:${ports[0]}, or set collector_port`,
        )
      }
    }
    return ports
  }
}

async function listen<R>(key: string, host: string, port: number, open: () => Promise<R>): Promise<R> {
  try {
    return await open()
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const why =
      code === 'EADDRINUSE'
        ? 'something else listens there: stop it, or give another port'
        : code === 'EACCES'
          ? 'ports below 1024 need a privilege: give another port'
          : code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND'
            ? 'this machine has no such address: give another host'
            : message
    throw new StartError(`${key}: can't listen on ${host}:${port} (${code}): ${why}`, { cause: error })
  }
}

async function storeProblems(store: Store, log: Logger): Promise<string[]> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const error = new StoreError('MILO_STORE_UNAVAILABLE', `the store hasn't answered in ${CHECK_DEADLINE_MS} ms`)
    timer = setTimeout(() => reject(error), CHECK_DEADLINE_MS)
  })
  try {
    await Promise.race([store.check(), late])
    return []
  } catch (error) {
    if (error instanceof StoreError) return [error.message]
    log.error({ err: error }, "the store's check failed")
    return ["the store's check failed; the collector's log says why"]
  } finally {
    clearTimeout(timer)
  }
}
