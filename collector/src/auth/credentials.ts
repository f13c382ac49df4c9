import { createHash, createHmac, randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto'
import limitTo from 'p-limit'

/**
 * Users, tokens and what they allow. The configuration has lines that the command line prints, with hashes only: scrypt's of
 * passwords, which people choose, and SHA-256 of tokens, which are 256 random bits, so that nothing slower is needed.
 *
 *     anna:scrypt$32768$8$1$SALT$HASH
 *     grafana:read:sha256$HASH
 */
export const USER_LINE = /^([^:,\s]{1,100}):scrypt\$(\d{4,6})\$(\d{1,2})\$(\d{1,2})\$([\w-]{16,86})\$([\w-]{43})$/
export const TOKEN_LINE = /^([^:,\s]{1,100}):(full|read|ingest):sha256\$([\w-]{43})$/

/** `read` allows GET, metrics included. `ingest` allows POST of spans. `full` allows everything; users have it. */
export type Scope = 'full' | 'read' | 'ingest'

/** About 32 MiB and 80 ms of CPU to try one password. */
const COST: ScryptOptions = { N: 32768, r: 8, p: 1, maxmem: 256 * 1024 * 1024 }
const KEY_BYTES = 32
/** Limits for passwords that are tried at once and that wait. Each try costs what COST says. */
const MAX_TRIES = 2
const MAX_WAITING_TRIES = 20
/** Passwords that were right are remembered by their HMAC, so that each of a page's requests doesn't cost a try. */
const MAX_KNOWN = 1000

/** @param name without colons, commas and spaces */
export async function hashPassword(name: string, password: string): Promise<string> {
  const salt = randomBytes(16)
  const hash = await derive(password, salt, COST)
  const line = `${name}:scrypt$${COST.N}$${COST.r}$${COST.p}$${salt.toString('base64url')}$${hash.toString('base64url')}`
  if (!USER_LINE.test(line))
    throw new RangeError('the name must have 1 to 100 characters, without colon, comma or space')
  return line
}

/** @returns the token, to be shown once, and the line for the configuration */
export function createToken(name: string, scope: Scope): { token: string; line: string } {
  const token = `milo_${randomBytes(32).toString('base64url')}`
  const line = `${name}:${scope}:sha256$${sha256(token).toString('base64url')}`
  if (!TOKEN_LINE.test(line))
    throw new RangeError('the name must have 1 to 100 characters, without colon, comma or space')
  return { token, line }
}

export interface Credentials {
  /** Whether the configuration has any. If not, requests need none. */
  required: boolean
  /** The HTTP schemes that are accepted: basic for users, bearer for tokens. */
  schemes: ('basic' | 'bearer')[]
  /**
   * @param authorization the header
   * @param mayTry called before a password is tried, which costs time
   * @returns undefined if the credentials are wrong, 'later' if too many tries are waiting
   */
  scopeOf(authorization: string, mayTry: () => Promise<boolean>): Promise<Scope | 'later' | undefined>
}

interface User {
  cost: ScryptOptions
  salt: Buffer
  hash: Buffer
}

/** @param users lines as USER_LINE has them @param tokens lines as TOKEN_LINE has them */
export function readCredentials(users: string[], tokens: string[]): Credentials {
  const byName = new Map<string, User>()
  for (const line of users) {
    const [, name, N, r, p, salt, hash] = USER_LINE.exec(line)!
    byName.set(name!, {
      cost: { N: Number(N), r: Number(r), p: Number(p), maxmem: COST.maxmem! },
      salt: Buffer.from(salt!, 'base64url'),
      hash: Buffer.from(hash!, 'base64url'),
    })
  }
  const known = tokens.map(line => {
    const [, , scope, hash] = TOKEN_LINE.exec(line)!
    return { scope: scope as Scope, hash: Buffer.from(hash!, 'base64url') }
  })
  // An unknown name takes as long as a known one.
  const unknownUser: User = { cost: COST, salt: randomBytes(16), hash: randomBytes(KEY_BYTES) }
  const hmacKey = randomBytes(32)
  const right = new Set<string>()
  const tries = limitTo(MAX_TRIES)

  function bearer(token: string): Scope | undefined {
    const hash = sha256(token)
    let scope: Scope | undefined
    // Compare with all of them, so that the time reveals nothing.
    for (const one of known) if (timingSafeEqual(one.hash, hash)) scope = one.scope
    return scope
  }

  async function basic(encoded: string, mayTry: () => Promise<boolean>): Promise<Scope | 'later' | undefined> {
    const hmac = createHmac('sha256', hmacKey).update(encoded).digest('base64')
    if (right.has(hmac)) return 'full'
    const decoded = Buffer.from(encoded, 'base64').toString('utf8')
    const colon = decoded.indexOf(':')
    if (colon === -1) return undefined
    if (!(await mayTry()) || tries.activeCount + tries.pendingCount >= MAX_TRIES + MAX_WAITING_TRIES) return 'later'
    const user = byName.get(decoded.slice(0, colon)) ?? unknownUser
    const hash = await tries(() => derive(decoded.slice(colon + 1), user.salt, user.cost))
    if (!timingSafeEqual(hash, user.hash)) return undefined
    if (right.size >= MAX_KNOWN) right.clear()
    right.add(hmac)
    return 'full'
  }

  return {
    required: byName.size + known.length > 0,
    schemes: [...(byName.size > 0 ? (['basic'] as const) : []), ...(known.length > 0 ? (['bearer'] as const) : [])],
    async scopeOf(authorization, mayTry) {
      const [, scheme, value] = /^(basic|bearer) +([\w+/=.~-]{1,4096}) *$/i.exec(authorization) ?? []
      if (value === undefined) return undefined
      return scheme!.toLowerCase() === 'bearer' ? bearer(value) : basic(value, mayTry)
    },
  }
}

function derive(password: string, salt: Buffer, cost: ScryptOptions): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password.normalize('NFC'), salt, KEY_BYTES, cost, (error, key) => (error ? reject(error) : resolve(key)))
  })
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
