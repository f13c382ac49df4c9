/** Names of hosts. This file doesn't use node:net, because the web interface builds traces too. */

/**
 * Returns a host without port, brackets and final dot. An address gets the normal form that browsers give it.
 * @returns "" if the string isn't a host
 */
export function hostName(text: string): string {
  if (/[/?#@\\]/.test(text)) return ''
  const url = `http://${/^[^[]*:.*:/.test(text) ? `[${text}]` : text}`
  return URL.canParse(url) ? new URL(url).hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '') : ''
}

const LOCAL_NAMES =
  /^(?:.+\.)?localhost$|^localhost[46]?\.localdomain[46]?$|^localhost[46]$|^ip6-(?:localhost|loopback)$/
const LOCAL_ADDRESSES = /^(?:127\.\d+\.\d+\.\d+|0\.0\.0\.0|::1?|::ffff:(?:7f..:[\da-f]+|0:0))$/

/** Hosts that were looked at lately: a few make most of what is reported, and to parse one takes as long as to read a record. */
const known = new Map<string, boolean>()
const MAX_KNOWN = 1_000
const MAX_LENGTH = 300

/** Tells names that every machine has, such as localhost. They don't tell machines apart. */
export function isEveryMachine(host: string): boolean {
  const before = known.get(host)
  if (before !== undefined) return before
  const name = hostName(host)
  const isEvery = LOCAL_NAMES.test(name) || LOCAL_ADDRESSES.test(name)
  if (host.length > MAX_LENGTH) return isEvery
  if (known.size >= MAX_KNOWN) known.clear()
  known.set(host, isEvery)
  return isEvery
}
