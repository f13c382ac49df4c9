import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { AddressInfo, Server } from 'node:net'
import { networkInterfaces } from 'node:os'
import { placeOf } from '../codec/keeps'
import { clock } from '../process/genuine'

/**
 * Where this process takes calls. Node says once for each server that it listens, so a call costs nothing. Whoever calls this process
 * knows no more of it than such a place: by this a collector knows which process it is.
 */

/** Node's channel for servers of net, which those of tls, http and the others are: from 20.15 and 22.3 on. */
const LISTENS = 'tracing:net.server.listen:asyncEnd'
/** An older Node, and of a server that was there before, only says that a connection has come. */
const ACCEPTS = 'net.server.socket'
const MAX_SERVERS = 16
const MAX_PLACES = 64
/** To ask for the machine's addresses takes some 100 µs, and a process that is told much asks often. */
const KNOWN_MS = 60_000

interface Listening {
  server: WeakRef<Server>
  address: string
  port: number
}

/** One that is closed stays, as long as there is room: traces of its time are looked at later. */
const servers: Listening[] = []
let isWatching = false
/** Undefined once a server has come. */
let known: string[] | undefined
let knownAtMs = 0

/** Notes servers that listen from now on. Further calls do nothing. */
export function watchServers(): void {
  if (isWatching) return
  isWatching = true
  const seen = new WeakSet<Server>()
  const see = (server: Server | null | undefined) => {
    if (!server || seen.has(server)) return
    seen.add(server)
    note(server)
  }
  const accepts = (message: unknown) => see((message as { socket?: { server?: Server | null } }).socket?.server)
  subscribe(ACCEPTS, accepts)
  subscribe(LISTENS, message => {
    // So no connection has to say it.
    unsubscribe(ACCEPTS, accepts)
    const { server } = message as { server?: Server }
    if (server) note(server)
  })
}

function note(server: Server): void {
  const place = addressOf(server)
  if (place === undefined) return
  if (servers.length === MAX_SERVERS) {
    const closed = servers.findIndex(({ server }) => addressOf(server.deref()) === undefined)
    if (closed === -1) return
    servers.splice(closed, 1)
  }
  servers.push({ server: new WeakRef(server), address: place.address, port: place.port })
  known = undefined
}

/** Returns places as `address:port`: what servers are bound to and, where that is any address, those of this machine. */
export function listening(): string[] {
  const nowMs = clock.now()
  if (known !== undefined && nowMs - knownAtMs < KNOWN_MS) return known
  const places = new Set<string>()
  for (const { address, port } of servers) {
    places.add(placeOf(address, port))
    if (address !== '::' && address !== '0.0.0.0') continue
    for (const own of ownAddresses(address === '::')) places.add(placeOf(own, port))
  }
  knownAtMs = nowMs
  known = [...places].slice(0, MAX_PLACES)
  return known
}

/** Undefined for one that is closed, or listens at a path. */
function addressOf(server: Server | undefined): AddressInfo | undefined {
  try {
    const address = server?.address()
    return typeof address === 'object' && typeof address?.port === 'number' ? address : undefined
  } catch {
    // A class of the application's.
    return undefined
  }
}

/** Loopback's and link-local addresses aren't known elsewhere. */
function ownAddresses(withSix: boolean): string[] {
  return Object.values(interfaces())
    .flatMap(addresses => addresses ?? [])
    .filter(
      ({ internal, family, address }) => !internal && (family === 'IPv4' || (withSix && !/^fe80:/i.test(address))),
    )
    .map(({ address }) => address)
}

function interfaces(): ReturnType<typeof networkInterfaces> {
  try {
    return networkInterfaces()
  } catch {
    // Not where the system forbids it.
    return {}
  }
}
