import { trim } from './propagation'

/**
 * W3C baggage: values that the application gives a request, and that travel with it. A frame holds them as the header that is
 * written, `key=value;property,key=value`, of which nothing is decoded until the application asks.
 */

/** What W3C lets a header hold: list members, and bytes. */
const MAX_MEMBERS = 180
const MAX_BYTES = 8192
/** A longer header isn't read: it is several times what may be kept. */
const MAX_READ_LENGTH = 65_536

/** What HTTP lets a name be (RFC 9110). */
export const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
/** key=value, and properties, with optional white space around `=` and `;`. ASCII alone: a character is a byte. */
const MEMBER = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=([ \t\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]*)$/

/**
 * The members of a header that may be kept: those with one of these keys (`*`: any), as far as the limits go. One that isn't
 * valid is left out, and of several with one key the last counts.
 * @returns undefined where none is left
 */
export function limitBaggage(header: unknown, keys: ReadonlySet<string>): string | undefined {
  const members = membersOf(header)
  let result = ''
  let count = 0
  for (const [key, member] of members) {
    if (!keys.has('*') && !keys.has(key)) continue
    if (count === MAX_MEMBERS) break
    if (result.length + member.length + 1 > MAX_BYTES + (count === 0 ? 1 : 0)) continue
    result = count === 0 ? member : `${result},${member}`
    count++
  }
  return count === 0 ? undefined : result
}

/** The values, decoded, by key. */
export function readBaggage(header: string | undefined): Record<string, string> {
  const result: [string, string][] = []
  for (const [key, member] of membersOf(header)) {
    const value = member.slice(member.indexOf('=') + 1)
    const end = value.indexOf(';')
    result.push([key, decoded(trim(end === -1 ? value : value.slice(0, end)))])
  }
  return Object.fromEntries(result)
}

/**
 * The header with these values in it, in place of those that the keys had.
 * @param changes undefined as a value removes the key. Keys that aren't tokens of HTTP can't be carried, and what isn't a string or
 * another primitive value has no place in a header: both are left out
 */
export function changeBaggage(header: string | undefined, changes: Record<string, unknown>): string | undefined {
  const members = membersOf(header)
  for (const [key, value] of Object.entries(changes)) {
    members.delete(key)
    const text = value === undefined ? undefined : encoded(value)
    if (text !== undefined && TOKEN.test(key)) members.set(key, `${key}=${text}`)
  }
  return limitBaggage([...members.values()].join(','), ALL)
}

const ALL: ReadonlySet<string> = new Set(['*'])

function membersOf(header: unknown): Map<string, string> {
  const members = new Map<string, string>()
  if (typeof header !== 'string' || header.length > MAX_READ_LENGTH) return members
  for (const part of header.split(',')) {
    const member = trim(part)
    const key = MEMBER.exec(member)?.[1]
    if (key !== undefined) members.set(key, member)
  }
  return members
}

function encoded(value: unknown): string | undefined {
  if (typeof value === 'object' || typeof value === 'function' || typeof value === 'symbol') return undefined
  try {
    return encodeURIComponent(String(value))
  } catch {
    // Half a surrogate pair.
    return undefined
  }
}

function decoded(value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    // Another tracer may write a bare %.
    return value
  }
}
