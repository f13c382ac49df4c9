import { type Reader, T } from 'milo/codec/binary'
import { MAX_POLLS, type Poll } from '../keep/feed'
import type { Keeping } from '../keep/keeping'
import type { Ring } from '../store/keeps'
import { CallRefused, type Result } from './fb303'

/** `keeps` and `rings` (src/idl/milo.thrift): processes ask which traces to keep, and relays tell which processes ask them. */

export type Asking = Pick<Keeping, 'feed' | 'rings'>

interface Asked {
  since: bigint
  waitMs: number
  ring: Omit<Ring, 'seenUs' | 'toldUs' | 'ended'>
  theirUs: number
}

const NOBODY = { service: '', host: '', process: 0n, historyUs: 0, madeUs: 0, address: '', listening: [] }
const MAX_RINGS = 1_000
const MAX_PLACES = 64

/**
 * Answers `keeps`, at once or later.
 * @param mayWait false when other calls wait for this reply: it comes at once then
 * @param answer called with what writes the result
 * @returns what to do when the peer has gone, and the poll, if it waits
 * @throws CallRefused when too many polls wait
 */
export function answerKeeps(
  { feed, rings }: Asking,
  args: Reader,
  address: string,
  mayWait: boolean,
  answer: (result: Result) => void,
): { gone(): void; poll: Poll | undefined } {
  const { since, waitMs, ring, theirUs } = readRequest(args, address)
  // A process without a number has no history.
  const answered = ring.process === 0n ? () => {} : rings.asks(ring, theirUs)
  const poll: Poll | 'too many' | undefined = feed.poll(since, mayWait ? waitMs : 0, reply => {
    answered()
    answer(w => {
      w.field(T.STRUCT, 0)
      w.field(T.I64, 1)
      w.i64FromNumber(reply.next)
      w.field(T.STRING, 2)
      w.bytes(reply.keeps)
      w.byte(T.STOP)
      w.byte(T.STOP)
    })
  })
  if (poll === 'too many') {
    answered()
    throw new CallRefused(`${MAX_POLLS} polls wait already: try later`)
  }
  return { gone: () => rings.left(ring.process), poll }
}

/** Takes `rings`. @returns what writes the empty result */
export function takeRings({ rings }: Asking, args: Reader): Result {
  const { told, nowUs } = readRings(args)
  for (const ring of told) rings.told(ring, nowUs)
  return w => w.byte(T.STOP)
}

function readRequest(args: Reader, address: string): Asked {
  const ring: Asked['ring'] = { ...NOBODY, address }
  const asked: Asked = { since: 0n, waitMs: 0, ring, theirUs: 0 }
  args.eachField((id, type) => {
    if (id !== 1 || type !== T.STRUCT) return false
    args.eachField((id, type) => {
      if (id === 1 && type === T.I64) asked.since = args.i64()
      else if (id === 2 && type === T.I32) asked.waitMs = args.i32()
      else if (id === 9 && type === T.I64) asked.theirUs = Number(args.i64())
      else return readRingField(args, ring, id < 7 ? id - 2 : id, type)
      return true
    })
    return true
  })
  return asked
}

function readRings(args: Reader): { told: Ring[]; nowUs: number | undefined } {
  const rings: Ring[] = []
  let nowUs: number | undefined
  args.eachField((id, type) => {
    if (id === 2 && type === T.I64) {
      nowUs = Number(args.i64())
      return true
    }
    if (id !== 1 || type !== T.LIST) return false
    const elementType = args.byte()
    const n = args.size(1)
    for (let i = 0; i < n; i++) {
      if (elementType !== T.STRUCT || rings.length === MAX_RINGS) {
        args.skip(elementType)
        continue
      }
      const ring: Ring = { ...NOBODY, toldUs: 0, seenUs: 0, ended: false }
      args.eachField((id, type) => {
        if (id === 5 && type === T.I64) ring.seenUs = Number(args.i64())
        else if (id === 6 && type === T.BOOL) ring.ended = args.byte() !== 0
        else if (id === 9 && type === T.I64) ring.toldUs = Number(args.i64())
        else if (id === 10 && type === T.I64) ring.aheadUs = Number(args.i64())
        else return readRingField(args, ring, id, type)
        return true
      })
      if (ring.process !== 0n) rings.push(ring)
    }
    return true
  })
  return { told: rings, nowUs }
}

/** @returns the first MAX_PLACES */
function readPlaces(args: Reader): string[] {
  const places: string[] = []
  const elementType = args.byte()
  for (let n = args.size(1); n > 0; n--) {
    if (elementType === T.STRING && places.length < MAX_PLACES) places.push(args.string())
    else args.skip(elementType)
  }
  return places
}

function readRingField(args: Reader, ring: Asked['ring'], id: number, type: number): boolean {
  if (id === 1 && type === T.STRING) ring.service = args.string()
  else if (id === 2 && type === T.STRING) ring.host = args.string()
  else if (id === 3 && type === T.I64) ring.process = args.i64()
  else if (id === 4 && type === T.I64) ring.historyUs = Number(args.i64())
  else if (id === 7 && type === T.LIST) ring.listening = readPlaces(args)
  else if (id === 8 && type === T.I64) ring.madeUs = Number(args.i64())
  else return false
  return true
}
