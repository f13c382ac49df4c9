import type { IncomingHttpHeaders } from 'node:http'
import { BlockList, isIP } from 'node:net'

/** Compares network addresses as numbers: a comparison of strings would take 127.evil.example for this machine. */

const LOOPBACK = addressList(['127.0.0.0/8', '::1'])

/** Returns whether a server that listens on this host can be reached only from this machine. */
export function isLoopback(host: string): boolean {
  return isIP(host) === 0 ? /^localhost\.?$/i.test(host) : LOOPBACK(host)
}

/** Returns whether the value is an address, or a network such as 10.0.0.0/8. */
export function isNetwork(value: string): boolean {
  const [address = '', bits, ...more] = value.split('/')
  const family = isIP(address)
  if (family === 0 || address.includes('%') || more.length > 0) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 6 ? 128 : 32))
}

/**
 * @param networks as isNetwork takes them
 * @returns whether one of them holds an address; an IPv4 address may be written as an IPv6 one
 */
export function addressList(networks: readonly string[]): (address: string) => boolean {
  const list = new BlockList()
  for (const network of networks) {
    const [address, bits] = network.split('/') as [string, string | undefined]
    if (bits === undefined) list.addAddress(address, familyOf(address))
    else list.addSubnet(address, Number(bits), familyOf(address))
  }
  return text => {
    const address = withoutZone(text)
    return isIP(address) !== 0 && list.check(address, familyOf(address))
  }
}

/**
 * Returns the addresses through which a request came, as X-Forwarded-For or, without it, Forwarded (RFC 7239) lists them: those
 * after the last entry that isn't an address. Some proxies add ports, or write "unknown".
 */
export function forwardedFor(headers: IncomingHttpHeaders): string | undefined {
  const header = headers['x-forwarded-for']
  const hops = header === undefined ? hopsOf(headers.forwarded ?? '') : [header].flat().join().split(',')
  const addresses = hops.map(readHop)
  const known = addresses.slice(addresses.lastIndexOf(undefined) + 1)
  return known.length === 0 ? undefined : known.join(', ')
}

/** A longer header isn't a list of proxies. */
const MAX_FORWARDED_LENGTH = 2_000

function hopsOf(header: string): string[] {
  if (header.length > MAX_FORWARDED_LENGTH) return []
  const elements = header.match(/(?:[^,"]|"(?:\\.|[^"\\])*")+/g) ?? []
  return elements.map(element => /(?:^|;)\s*for\s*=\s*"?([^";]*)/i.exec(element)?.[1] ?? '')
}

/** Reads an address, with a port or without. An IPv6 address with a port has brackets. */
function readHop(text: string): string | undefined {
  const hop = text.trim()
  const [, bracketed, plain] = /^\[([^\]]*)\](?::\d+)?$|^([\d.]+):\d+$/.exec(hop) ?? []
  const address = bracketed ?? plain ?? hop
  return isIP(address) === 0 ? undefined : address
}

/** Removes the zone, which names an interface of this machine: `fe80::1%eth0`. */
function withoutZone(address: string): string {
  return address.split('%')[0]!
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4'
}
