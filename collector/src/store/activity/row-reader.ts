import { isUtf8 } from 'node:buffer'
import { sideOf } from 'milo/codec/events'
import { ERROR_KEYS } from '../../record/half'
import { RecordReader } from '../../record/reader'
import { ADDRESS_KEYS, PEER_KEYS } from '../../trace/peer'
import {
  CLIENT,
  CONSUMER,
  DURATION,
  FAILED,
  FLAGS,
  HASH,
  ID,
  LOCAL,
  NAME,
  PARENT,
  PEER,
  PROBABILITY,
  PRODUCER,
  type Rows,
  SERVER,
  SERVICE,
  START,
  TRACE,
  WIDTH,
} from './halves'
import type { Words } from './words'

/** Sketches count longer durations as 60 hours; this much can be written as a whole number. */
const MAX_DURATION_US = 2 ** 50
/** In the place of times that a record doesn't have, when its identity is made. */
const NO_TIME = 0x55555555

/** The annotations that matter here, by the first byte of their keys. `rank` is the order in which they are believed. */
interface Key {
  bytes: Buffer
  means: 'peer' | 'address' | 'kind' | 'error'
  rank: number
}
const KEYS: Key[][] = []
for (const [means, names] of [
  ['peer', PEER_KEYS],
  ['address', ADDRESS_KEYS],
  ['kind', ['otel.kind', 'zipkin.kind']],
  ['error', ERROR_KEYS],
] as const) {
  for (const [rank, name] of names.entries()) {
    const bytes = Buffer.from(name)
    KEYS[bytes[0]!] ??= []
    KEYS[bytes[0]!]!.push({ bytes, means, rank })
  }
}
/** By a byte: whether a key begins with it. */
const BEGINS = Uint8Array.from({ length: 256 }, (_, byte) => (KEYS[byte] === undefined ? 0 : 1))

/** Makes rows of records. */
export class RowReader {
  /** Of the record that was read last: whether it has a name, service or annotation that isn't UTF-8. */
  notUtf8 = false
  private readonly rows: Rows
  private readonly words: Words
  private readonly reader = new RecordReader()
  private failed = false
  private peerAt = -1
  private peerEnd = -1
  private addressAt = -1
  private addressEnd = -1
  private kindAt = -1
  private kindEnd = -1

  constructor(rows: Rows, words: Words) {
    this.rows = rows
    this.words = words
  }

  /**
   * Appends the row of a valid record. Whether it is counted isn't known yet.
   * @param view all of `body`
   * @param receivedUs the time of a record without times
   * @returns where the record ends
   */
  read(body: Buffer, view: DataView, pos: number, receivedUs: number): number {
    const { reader, rows, words } = this
    const end = reader.read(body, pos)
    const { traceIdAt, idAt, parentIdAt, probabilityAt, firstAt, lastAt, callType } = reader
    rows.reserve(1)
    const { i32, f64 } = rows
    const at = rows.size++ * WIDTH
    const doubles = at / 2
    const [traceHigh, traceLow] = [view.getInt32(traceIdAt), view.getInt32(traceIdAt + 4)]
    const [idHigh, idLow] = [view.getInt32(idAt), view.getInt32(idAt + 4)]
    i32[at + TRACE] = traceHigh
    i32[at + TRACE + 1] = traceLow
    i32[at + ID] = idHigh
    i32[at + ID + 1] = idLow
    i32[at + PARENT] = parentIdAt === -1 ? 0 : view.getInt32(parentIdAt)
    i32[at + PARENT + 1] = parentIdAt === -1 ? 0 : view.getInt32(parentIdAt + 4)
    f64[doubles + PROBABILITY] = probabilityAt === -1 ? Number.NaN : view.getFloat64(probabilityAt)

    // Fixed multipliers: every collector must find the same identity, and one that collides only isn't counted.
    let a = mixed(mixed(0x3c6ef372, traceHigh, 0x85ebca6b), idLow, 0x85ebca6b)
    let b = mixed(mixed(0x1b873593, traceLow, 0xc2b2ae35), idHigh, 0xc2b2ae35)
    if (firstAt === -1) {
      f64[doubles + START] = receivedUs
      f64[doubles + DURATION] = Number.NaN
      a = mixed(a, NO_TIME, 0x85ebca6b)
    } else {
      const [firstHigh, firstLow] = [view.getInt32(firstAt), view.getInt32(firstAt + 4)]
      const [lastHigh, lastLow] = [view.getInt32(lastAt), view.getInt32(lastAt + 4)]
      f64[doubles + START] = firstHigh * 4294967296 + (firstLow >>> 0)
      const durationUs = (lastHigh - firstHigh) * 4294967296 + (lastLow >>> 0) - (firstLow >>> 0)
      f64[doubles + DURATION] = Math.min(durationUs, MAX_DURATION_US)
      a = mixed(mixed(a, firstLow, 0x85ebca6b), lastHigh, 0x85ebca6b)
      b = mixed(mixed(b, lastLow, 0xc2b2ae35), firstHigh, 0xc2b2ae35)
    }
    const { hashes } = words
    i32[at + SERVICE] = words.find(body, reader.serviceAt, reader.serviceEnd)
    a = mixed(a, hashes[2 * words.entry]!, 0x85ebca6b)
    b = mixed(b, hashes[2 * words.entry + 1]!, 0xc2b2ae35)
    i32[at + NAME] = words.find(body, reader.nameAt, reader.nameEnd)
    a = mixed(a, hashes[2 * words.entry]! ^ callType, 0x85ebca6b)
    b = mixed(b, hashes[2 * words.entry + 1]! ^ Math.imul(end - pos, 0x27d4eb2f), 0xc2b2ae35)
    a = mixed(a, b, 0x85ebca6b)
    b = mixed(b, a, 0xc2b2ae35)
    i32[at + HASH] = a
    // 0 is no identity: see Identities.
    i32[at + HASH + 1] = a === 0 && b === 0 ? 1 : b

    this.readAnnotations(body)
    const side = sideOf(callType)
    let kind = side === 'client' ? CLIENT : side === 'server' ? SERVER : LOCAL
    if (kind === LOCAL && this.kindAt !== -1) kind = kindOf(body, this.kindAt, this.kindEnd)
    i32[at + FLAGS] = kind | (this.failed ? FAILED : 0)
    if (this.peerAt === -1 && kind === CLIENT && isName(body, this.addressAt, this.addressEnd)) {
      this.peerAt = this.addressAt
      this.peerEnd = this.addressEnd
    }
    i32[at + PEER] = this.peerAt === -1 ? 0 : words.find(body, this.peerAt, this.peerEnd)
    return end
  }

  private readAnnotations(body: Buffer): void {
    const { annotations, nameAt, nameEnd, serviceAt, serviceEnd } = this.reader
    this.failed = false
    this.peerAt = this.addressAt = this.kindAt = -1
    this.notUtf8 = isBad(body, nameAt, nameEnd) || isBad(body, serviceAt, serviceEnd)
    let peerRank = PEER_KEYS.length
    let addressRank = ADDRESS_KEYS.length
    let kindRank = 2
    for (let i = 0; i < annotations.length; i += 4) {
      const keyAt = annotations[i]!
      const keyEnd = annotations[i + 1]!
      const valueAt = annotations[i + 2]!
      const valueEnd = annotations[i + 3]!
      if (isBad(body, keyAt, keyEnd) || isBad(body, valueAt, valueEnd)) this.notUtf8 = true
      if (keyAt === keyEnd || BEGINS[body[keyAt]!] === 0) continue
      for (const { bytes, means, rank } of KEYS[body[keyAt]!]!) {
        if (!isAt(body, keyAt, keyEnd, bytes)) continue
        if (means === 'error') this.failed = true
        else if (valueAt === valueEnd) continue
        else if (means === 'peer' && rank < peerRank) {
          peerRank = rank
          this.peerAt = valueAt
          this.peerEnd = valueEnd
        } else if (means === 'address' && rank < addressRank) {
          addressRank = rank
          this.addressAt = valueAt
          this.addressEnd = valueEnd
        } else if (means === 'kind' && rank < kindRank) {
          kindRank = rank
          this.kindAt = valueAt
          this.kindEnd = valueEnd
        }
      }
    }
  }
}

function mixed(hash: number, word: number, multiplier: number): number {
  const product = Math.imul(hash ^ word, multiplier)
  return product ^ (product >>> 15)
}

function kindOf(body: Buffer, at: number, end: number): number {
  if (end - at !== 8) return LOCAL
  const kind = body.toString('latin1', at, end).toLowerCase()
  return kind === 'producer' ? PRODUCER : kind === 'consumer' ? CONSUMER : LOCAL
}

const LOCALHOST = Buffer.from('localhost')

/** Whether a host is called by a name: an address changes with every start of a container, and every machine is localhost. */
function isName(body: Buffer, at: number, end: number): boolean {
  if (at === -1 || isAt(body, at, end, LOCALHOST)) return false
  let hasLetter = false
  for (let i = at; i < end; i++) {
    const byte = body[i]! | 0x20
    if (byte === 0x3a) return false
    if (byte >= 0x61 && byte <= 0x7a) hasLetter = true
  }
  return hasLetter
}

function isAt(body: Buffer, at: number, end: number, bytes: Buffer): boolean {
  if (end - at !== bytes.length) return false
  for (let i = 0; i < bytes.length; i++) if (body[at + i] !== bytes[i]) return false
  return true
}

/** Uses a loop: words are short, and a call into C++ costs more. */
function isBad(body: Buffer, at: number, end: number): boolean {
  if (at === -1) return false
  for (let i = at; i < end; i++) if (body[i]! > 127) return !isUtf8(body.subarray(at, end))
  return false
}
