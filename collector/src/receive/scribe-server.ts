import { createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions, type Server as TlsServer } from 'node:tls'
import { isLoopback } from '../auth/addresses'
import { requireCertificates, setTls } from '../auth/tls'
import { type Logger, limitWarnings } from '../log'
import type { Metrics } from '../metrics'
import { type AdmissionOptions, makesRoom } from './admission'
import { Calls } from './calls'
import { Connection, type ConnectionOptions } from './connection'
import type { Fb303 } from './fb303'
import { FrameMemory } from './frame-memory'
import type { Ingest } from './ingest'
import type { Asking } from './keeps-call'
import { TurnQueue } from './turn-queue'

/**
 * Scribe over TCP or TLS: frames of Thrift's binary protocol, each an i32 length and a message.
 *
 *     bytes → frame → slot ──→ in turn: message header → Log, keeps, fb303 or an exception ─┐
 *     socket ← replies in the order of their calls ← slots, oldest first ←──────────────────┘
 *
 * A connection's calls wait for the store side by side, but each holds a slot, and a reply leaves when all before it have
 * left. Frames are read in turns, one connection after the other, each a frame or a few milliseconds of a large one, so
 * that no peer waits for all that another has sent.
 *
 * What a peer can make the collector keep is bounded: a frame by its length and by how fast it comes (connection.ts), the
 * frames of all connections together (frame-memory.ts), waiting calls by pausing their connection, and connections by
 * their number, by address, and by what moves on them (admission.ts). What can't be read closes its connection; a call
 * whose header can be read gets an exception instead of its result.
 */
interface ScribeServer {
  /** @returns the port, which the system chooses for port 0 */
  listen(host: string, port: number): Promise<number>
  /** The listeners that should be open, and whether they are. */
  listeners(): { host: string; port: number; open: boolean }[]
  /**
   * Changes the certificate for connections from now on.
   * @throws Error when the certificate is invalid
   */
  setTls(tls: TlsOptions): void
  /** Takes no more calls, answers those in flight, and closes. After the deadline, it closes the remaining connections. */
  close(deadlineMs: number): Promise<void>
}

interface ScribeServerOptions {
  ingest: Ingest
  fb303: Fb303
  keeping: Asking
  maxFrameBytes: number
  /** The limit for the unfinished frames of all connections. When they take half of it, complete frames are read first. */
  maxUnfinishedBytes: number
  /** The maximum number of connections. One address that isn't trusted may have half of them. */
  maxConnections: number
  /** Returns whether one address may have all connections. */
  isTrusted?: (address: string) => boolean
  /** The time after which a connection that receives nothing is closed. */
  idleTimeoutMs: number
  /** If set, the port accepts only TLS. */
  tls?: TlsOptions | undefined
  metrics: Metrics
  log: Logger
}

/** How long a frame that has begun, or replies that the peer doesn't take, may stand still. */
const STALL_MS = 60_000
const HANDSHAKE_MS = 10_000

export function createScribeServer(options: ScribeServerOptions): ScribeServer {
  const { ingest, fb303, keeping, maxFrameBytes, maxUnfinishedBytes, maxConnections, idleTimeoutMs, metrics, log } =
    options
  const { isTrusted = isLoopback } = options
  const stallTimeoutMs = Math.min(STALL_MS, idleTimeoutMs)
  const warn = limitWarnings(log)
  const servers: { server: Server | TlsServer; host: string; port: number }[] = []
  const connections = new Set<Connection>()
  const admission: AdmissionOptions = {
    maxConnections,
    isTrusted,
    closed: reason => metrics.connectionsClosed.inc({ reason }),
    warn: where => warn('max_connections', where, 'the number of Scribe connections has reached max_connections'),
  }
  const shared: ConnectionOptions = {
    connections,
    memory: new FrameMemory(maxUnfinishedBytes, connections, metrics),
    turns: new TurnQueue(),
    calls: new Calls({ ingest, fb303, keeping, metrics, warn, log }),
    ...{ maxFrameBytes, stallTimeoutMs, metrics, warn, log },
    closed() {
      if (connections.size === 0) whenEmpty?.()
    },
  }
  let tls = options.tls
  let whenEmpty: (() => void) | undefined
  const sweeper = setInterval(sweep, Math.max(50, Math.min(5_000, stallTimeoutMs / 4))).unref()

  function sweep(): void {
    const now = performance.now()
    for (const connection of connections) {
      if (now - (connection.stalledSince() ?? now) > stallTimeoutMs) close(connection, 'stalled')
      else if (now - (connection.idleSince() ?? now) > idleTimeoutMs) close(connection, 'idle')
    }
  }

  function close(connection: Connection, reason: string): void {
    metrics.connectionsClosed.inc({ reason })
    connection.destroy()
  }

  function accept(socket: Socket): void {
    if (makesRoom(connections, socket.remoteAddress ?? '', admission)) new Connection(socket, shared)
    else socket.destroy()
  }

  return {
    listen(host, port) {
      const server =
        tls === undefined
          ? createServer({ allowHalfOpen: true }, accept)
          : createTlsServer({ ...tls, allowHalfOpen: true, handshakeTimeout: HANDSHAKE_MS }, accept)
      if ('setSecureContext' in server) requireCertificates(server)
      // Unfinished handshakes aren't connections yet.
      server.maxConnections = 2 * maxConnections
      server.on('tlsClientError', (error, socket) => {
        metrics.connectionErrors.inc({ reason: 'tls' })
        warn(
          'tls',
          { peer: socket.remoteAddress, detail: error.message },
          'a TLS handshake of a Scribe connection failed',
        )
      })
      return new Promise((resolve, reject) => {
        server.once('error', reject)
        server.listen(port, host, () => {
          server.removeListener('error', reject)
          server.on('error', error =>
            warn('listener', { err: error, host, port }, 'a Scribe connection was not accepted'),
          )
          const bound = (server.address() as { port: number }).port
          servers.push({ server, host, port: bound })
          resolve(bound)
        })
      })
    },
    listeners: () => servers.map(({ server, host, port }) => ({ host, port, open: server.listening })),
    setTls(context) {
      tls = context
      for (const { server } of servers) if ('setSecureContext' in server) setTls(server, context)
    },
    async close(deadlineMs) {
      clearInterval(sweeper)
      for (const { server } of servers) server.close()
      const empty = new Promise<void>(resolve => {
        whenEmpty = resolve
      })
      for (const connection of [...connections]) connection.finish()
      if (connections.size === 0) return
      const timer = setTimeout(() => {
        log.warn({ connections: connections.size }, 'Scribe connections closed with calls unanswered')
        for (const connection of connections) connection.destroy()
      }, deadlineMs)
      await empty
      clearTimeout(timer)
    },
  }
}
