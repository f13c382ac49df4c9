import type { AddressInfo } from 'node:net'
import type { Server as TlsServer } from 'node:tls'
import { version } from '../package.json'
import { createApi } from './api'
import { createReads } from './api/read-budget'
import { addressList, isLoopback } from './auth/addresses'
import { type Credentials, readCredentials } from './auth/credentials'
import { fileContents, readClientTls, readTls, setTls } from './auth/tls'
import { type Config, changedKeys } from './config'
import { Keeping } from './keep/keeping'
import { type Logger, limitWarnings } from './log'
import { createMetrics, exposeActivity, exposeBacklog, exposeKeeping, flatCounters, type Metrics } from './metrics'
import { createFb303, type Fb303Options, type Status } from './receive/fb303'
import { createIngest } from './receive/ingest'
import { createScribeServer } from './receive/scribe-server'
import { createRelay, type Relay } from './relay/relay'
import { askUpstreams } from './relay/upstream-keeps'
import { StartError } from './start-error'
import { within } from './store/deadline'
import type { KeepLog } from './store/keeps'
import { openStore } from './store/open'
import { type ReadableStore, StoreError, type StoreLifecycle } from './store/store'
import { collectorId } from './store/store-config'

/** The whole collector: its parts, opened in order and closed in reverse. */
export interface Collector {
  /** The ports on which it listens, Scribe's in the order of the configuration. */
  scribePorts: number[]
  httpPort: number
  /**
   * Applies the settings that can change while the collector runs: log level, users and tokens, rate limit, certificates, what is
   * indexed, the link to logs.
   * @returns the keys of the settings that have changed and take effect only after a restart
   * @throws Error when a certificate can't be read, or the API would be left without credentials; then nothing changes
   */
  reload(config: Config): string[]
  /** Answers what is in flight, within 4 s, and closes the store. */
  close(): Promise<void>
}

/** How long calls in flight may take once the collector stops. With what the store settles after them (5 s), it ends before `docker stop` kills it. */
const STOP_DEADLINE_MS = 4_000
/** How long a store may take to answer before it counts as not ready. */
const CHECK_DEADLINE_MS = 5_000
/** An attempt to index accepted spans that takes longer makes the collector not ready. Each attempt ends unless something hangs. */
const SETTLE_DEADLINE_MS = 60_000
/** An attempt that takes longer than this never ends: every request to a database has a deadline of seconds. */
const STUCK_MS = 600_000
const DEFAULT_RATE_LIMIT = 600
const RELOADED = [
  ...['log_level', 'http.users', 'http.tokens', 'http.auth', 'http.rate_limit'],
  ...['http.allowed_hosts', 'http.trusted_proxies', 'http.base_path'],
  ...['index.allow', 'index.deny', 'index.value_length', 'log_link'],
]

/**
 * Opens the store, then Scribe's ports, then HTTP, and says so in the log: a line `listening` with listener, host and port
 * for each (the real port, also where 0 was asked for), and `ready` with the address to open at the end.
 * @param uiDir where the built web interface is
 * @param control what fb303's shutdown and reinitialize do, if the configuration allows them
 * @throws StartError, or StoreError with what the store says
 */
export async function startCollector(
  config: Config,
  log: Logger,
  uiDir: string,
  control?: Fb303Options['control'],
): Promise<Collector> {
  const clientFiles = clientFilesOf(config)
  const tls = { scribe: readTls('scribe.tls', config.scribe.tls), http: readTls('http.tls', config.http.tls) }
  const metrics = createMetrics()
  const { store, readable, ingest, keeping } = await openStorage(config, metrics, log)
  exposeKeeping(metrics, keeping)
  exposeBacklog(metrics, () => store.backlog())
  exposeActivity(metrics, () => store.backlog().activity)
  let state: 'STARTING' | 'ALIVE' | 'STOPPING' = 'STARTING'
  let http = config.http
  let logLink = config.log_link ?? null
  let credentials = credentialsOf(config)
  let isTrustedProxy = addressList(http.trusted_proxies)
  const { max_backlog_spans: maxBacklogSpans, max_backlog_bytes: maxBacklogBytes } = config
  const status = (): Status => (state === 'ALIVE' && ingest.storeFails() ? 'WARNING' : state)
  const scribe = createScribeServer({
    ingest,
    fb303: createFb303({
      status,
      counters: () => flatCounters(metrics.registry),
      control: config.fb303.allow_shutdown ? control : undefined,
    }),
    keeping,
    maxFrameBytes: config.max_frame_bytes,
    maxUnfinishedBytes: config.max_in_flight_bytes,
    maxConnections: config.max_connections,
    idleTimeoutMs: config.idle_timeout_ms,
    tls: tls.scribe,
    metrics,
    log,
  })
  const closedListeners = () =>
    scribe
      .listeners()
      .filter(({ open }) => !open)
      .map(({ host, port }) => `Scribe's listener on ${host}:${port} is closed`)
  const api = await createApi({
    store: readable,
    ingest,
    keeping,
    reads: createReads(config.max_read_bytes, config.max_trace_bytes),
    activity: {
      retentionDays: config.retention_days,
      activityDays: config.activity_days,
      maxSeries: config.max_service_series,
    },
    metrics,
    liveness: () => [...closedListeners(), ...[store.dead() ?? []].flat(), ...stuck()],
    health,
    async readiness() {
      if (state !== 'ALIVE') return [`the collector is ${state === 'STOPPING' ? 'stopping' : 'starting'}`]
      return [...backlogProblems(), ...(await health())]
    },
    status: () => ({
      version,
      store: config.store,
      backlogSpans: store.backlog().spans,
      spansPutAside: store.backlog().putAside,
      collectorId: collectorId(config),
      scribe: scribe.listeners().map(({ host, port }) => ({ host, port })),
      auth: credentials.schemes[0] ?? 'none',
      retentionDays: config.retention_days,
      activityDays: config.activity_days,
    }),
    settings: () => ({ logLink }),
    credentials: () => credentials,
    // A proxy on this machine forwards clients from other machines.
    rateLimit: () =>
      http.rate_limit ?? (isLoopback(http.host) && http.trusted_proxies.length === 0 ? 0 : DEFAULT_RATE_LIMIT),
    allowedHosts: () => http.allowed_hosts,
    isTrustedProxy: address => isTrustedProxy(address),
    basePath: () => http.base_path,
    uiDir,
    host: config.http.host,
    tls: tls.http,
    maxConnections: config.max_connections,
    maxBodyBytes: config.http.max_body_bytes,
    maxInFlightBytes: config.max_in_flight_bytes,
    stopDeadlineMs: STOP_DEADLINE_MS,
    log,
  })

  /** Any client may ask at any rate, so requests at the same time share one check of the store. */
  let checking: Promise<string[]> | undefined
  async function health(): Promise<string[]> {
    checking ??= storeProblems(store, log).finally(() => {
      checking = undefined
    })
    return [...closedListeners(), ...(await checking)]
  }

  function stuck(): string[] {
    const { settlingMs } = store.backlog()
    if (settlingMs <= STUCK_MS) return []
    return [`indexing accepted spans has taken ${Math.round(settlingMs / 60_000)} min: restart the collector`]
  }

  function backlogProblems(): string[] {
    const { spans, bytes, settlingMs } = store.backlog()
    if (settlingMs > SETTLE_DEADLINE_MS) {
      return [`indexing accepted spans has taken ${Math.round(settlingMs / 1000)} s and hasn't finished`]
    }
    if (spans < maxBacklogSpans && bytes < maxBacklogBytes) return []
    return [`${spans} accepted spans (${bytes} bytes) wait to be indexed: senders get TRY_LATER`]
  }

  function reload(next: Config): string[] {
    const nextTls = { scribe: readTls('scribe.tls', next.scribe.tls), http: readTls('http.tls', next.http.tls) }
    const nextCredentials = credentialsOf(next)
    if (!nextCredentials.required && next.http.auth !== 'none' && !isLoopback(config.http.host)) {
      throw new Error(
        `http.users: no user or token remains, but the API still listens on ${config.http.host}: keep one, or restart the collector`,
      )
    }
    const changed = changedKeys(config, next).filter(
      key =>
        !RELOADED.includes(key) &&
        !(key.startsWith('scribe.tls.') && tls.scribe && nextTls.scribe) &&
        !(key.startsWith('http.tls.') && tls.http && nextTls.http),
    )
    for (const [key, content] of clientFilesOf(next)) {
      if (content !== clientFiles.get(key) && !changed.includes(key)) changed.push(key)
    }
    // A listener can't gain or lose TLS while it is open.
    if (tls.scribe && nextTls.scribe) scribe.setTls(nextTls.scribe)
    if (tls.http && nextTls.http) setTls(api.server as unknown as TlsServer, nextTls.http)
    log.level = next.log_level
    readable?.setIndex(next.index)
    logLink = next.log_link ?? null
    credentials = nextCredentials
    const { rate_limit, allowed_hosts, trusted_proxies, base_path } = next.http
    http = { ...http, rate_limit, allowed_hosts, trusted_proxies, base_path }
    isTrustedProxy = addressList(trusted_proxies)
    return changed
  }

  async function close(): Promise<void> {
    state = 'STOPPING'
    await Promise.all([scribe.close(STOP_DEADLINE_MS), api.close(), keeping.close()])
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
    log.info({ web: webAddress(config.http, httpPort) }, 'ready')
    return { scribePorts, httpPort, reload, close }
  } catch (error) {
    await close()
    throw error
  }

  /**
   * The second default port is Scribe's own. On a host without Scribe, applications that send to Scribe's port reach the
   * collector there. On a host with Scribe, Scribe keeps the port, and a warning says what to do. A port that the user chose must
   * be free: senders use it, and without it the collector would look healthy and receive nothing.
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
          `port ${wanted} is taken, probably by this host's own Scribe: let Scribe forward category ${config.scribe.category} to ${host}:${ports[0]}, or set collector_port`,
        )
      }
    }
    return ports
  }
}

/** What receives spans, and what reads them. */
interface Storage extends Relay {
  readable: ReadableStore | undefined
  keeping: Keeping
}

async function openStorage(config: Config, metrics: Metrics, log: Logger): Promise<Storage> {
  const keepingIn = (store: KeepLog | undefined) =>
    new Keeping({ store, collector: collectorId(config), metrics, warn: limitWarnings(log) })
  if (config.store === 'scribe')
    return { ...openRelay(config, keepingIn(undefined), metrics, log), readable: undefined }
  const store = await openStore(config, message => log.info(message))
  const keeping = keepingIn(store)
  const ingest = createIngest({
    store,
    category: config.scribe.category,
    zipkinCategory: config.scribe.zipkin_category || undefined,
    maxInFlightBytes: config.max_in_flight_bytes,
    maxBacklogSpans: config.max_backlog_spans,
    maxBacklogBytes: config.max_backlog_bytes,
    kept: records => keeping.kept(records),
    metrics,
    log,
  })
  return { store, readable: store, ingest, keeping }
}

function openRelay(
  { relay, scribe }: Config,
  keeping: Keeping,
  metrics: Metrics,
  log: Logger,
): Relay & { keeping: Keeping } {
  const tls = relay.tls && readClientTls('relay.tls', relay.tls)
  const upstreams = relay.upstreams.map(address => ({ ...address, tls }))
  const { store, ingest } = createRelay({
    path: relay.path,
    maxBytes: relay.max_bytes,
    upstreams,
    base64: relay.base64,
    category: scribe.category,
    closeMs: STOP_DEADLINE_MS,
    metrics,
    log,
  })
  const asking = askUpstreams({ upstreams, keeping, warn: limitWarnings(log) })
  const close = async () => {
    await asking.close()
    await store.close()
  }
  return { store: { ...store, close }, ingest, keeping }
}

/** Hashes of the TLS files that connections to databases and upstreams have read at the start. */
function clientFilesOf({ relay, cassandra, mysql }: Config): Map<string, string> {
  return new Map([
    ...fileContents('relay.tls', relay.tls),
    ...fileContents('cassandra.tls', cassandra.tls),
    ...fileContents('mysql.tls', mysql.tls),
  ])
}

function credentialsOf({ http: { auth, users, tokens } }: Config): Credentials {
  return auth === 'none' ? readCredentials([], []) : readCredentials(users, tokens)
}

/** Returns the address of the web interface for a browser on this machine. */
function webAddress({ host, tls }: Config['http'], port: number): string {
  const name = host === '0.0.0.0' || host === '::' ? 'localhost' : host.includes(':') ? `[${host}]` : host
  return `${tls ? 'https' : 'http'}://${name}:${port}/`
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

async function storeProblems(store: StoreLifecycle, log: Logger): Promise<string[]> {
  const late = () =>
    new StoreError('MILO_STORE_UNAVAILABLE', `the store hasn't answered within ${CHECK_DEADLINE_MS} ms`)
  try {
    await within(CHECK_DEADLINE_MS, store.check(), late)
    return []
  } catch (error) {
    if (error instanceof StoreError) return [error.message]
    log.error({ err: error }, "the store's check failed")
    return ["the store's check failed; the collector's log says why"]
  }
}
