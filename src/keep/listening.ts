import { subscribe } from 'node:diagnostics_channel'
import type { AddressInfo, Server } from 'node:net'
import { networkInterfaces } from 'node:os'

/**
 * Where this process takes calls. Node says once for each server that it listens, so a call costs nothing. Whoever calls this process
 * knows no more of it than such a place: by this a collector knows which process it is.
 */

/** Node's channel for servers of net, which those of tls, http and the others are: from 20.0 on. */
const LISTENS = 'tracing:net.server.listen:asyncEnd'
const MAX_SERVERS = 16
const MAX_PLACES = 64
const servers = new Set<Server>()
let isWatching = false

/** Notes servers that listen from now on. Further calls do nothing. */
export function watchServers(): void {
  if (isWatching) return
  isWatching = true
  subscribe(LISTENS, message => {
    const { server } = message as { server?: Server }
    if (typeof server?.address !== 'function') return
    forgetClosed()
    if (servers.size < MAX_SERVERS) servers.add(server)
  })
}

/** Returns places as `address:port`: what servers are bound to and, where that is any address, those of this machine. */
export function listening(): string[] {
  forgetClosed()
  const places = new Set<string>()
  for (const server of servers) {
    const { address, port } = addressOf(server)!
    places.add(placeOf(address, port))
    if (address !== '::' && address !== '0.0.0.0') continue
    for (const own of ownAddresses(address === '::')) places.add(placeOf(own, port))
  }
  return [...places].slice(0, MAX_PLACES)
}

function forgetClosed(): void {
  for (const server of servers) if (addressOf(server) === undefined) servers.delete(server)
}

/** Undefined for one that is closed, or listens at a path. */
function addressOf(server: Server): AddressInfo | undefined {
  try {
    const address = server.address()
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

function placeOf(address: string, port: number): string {
  const name = address.replace(/^::ffff:/, '').toLowerCase()
  return name.includes(':') ? `[${name}]:${port}` : `${name}:${port}`
}
