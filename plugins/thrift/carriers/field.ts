import { hasZeroId, type RemoteContext, remoteContext, type Span } from 'milo/plugin'
import { putIds, readIds } from './ids'

/**
 * Milo's field in the arguments struct of a call. Fixed for good: 6456 is MILO on a telephone's keys, is below 8192 (two
 * bytes in the compact protocol), and is neither 3333 nor 8888, which other tracers use.
 *
 *     list<byte>:  flags │ trace 8 │ span 8 │ parent 8 │ probability float32 │ trace's high half 8, if flagged
 *
 * Flags: version (0) in the high nibble; 1 sampled, 2 debug, 4 has a high half, 8 not sampled but recorded. Any other unsampled
 * call sends the flags alone.
 */
export const FIELD_ID = 6456
export const FIELD_BYTES = 29
const FIELD_BYTES_HIGH = 37
const SAMPLED = 1
const DEBUG = 2
const HAS_HIGH = 4
const RECORDED = 8
const VERSION_MASK = 0xf0

/** The field's length in bytes for this span. */
export function fieldLength(span: Span): number {
  const { trace } = span
  if (!trace.sampled && !trace.recorded) return 1
  return trace.highHi === 0 && trace.highLo === 0 ? FIELD_BYTES : FIELD_BYTES_HIGH
}

/** Puts the field's content at `pos`. */
export function putField(b: Buffer, pos: number, span: Span, length: number): void {
  const t = span.trace
  if (length === 1) {
    b[pos] = 0
    return
  }
  b[pos] = (t.sampled ? SAMPLED : RECORDED) | (t.debug ? DEBUG : 0) | (length === FIELD_BYTES_HIGH ? HAS_HIGH : 0)
  putIds(b, pos + 1, span)
  if (t.sampled) b.writeFloatBE(t.probability, pos + 25)
  else b[pos + 25] = b[pos + 26] = b[pos + 27] = b[pos + 28] = 0
  if (length === FIELD_BYTES_HIGH) {
    b.writeInt32BE(t.highHi, pos + 29)
    b.writeInt32BE(t.highLo, pos + 33)
  }
}

/**
 * Reads the field's content: `length` bytes at `pos`. A longer tail than this version knows is ignored.
 * @returns undefined when it isn't one: another version, too short for what its flags say, ids of zero
 */
export function readField(b: Buffer, pos: number, length: number): RemoteContext | undefined {
  if (length < 1) return undefined
  const flags = b[pos]!
  if ((flags & VERSION_MASK) !== 0) return undefined
  const sampled = (flags & SAMPLED) !== 0
  const high = (flags & HAS_HIGH) !== 0
  if (length < (high ? FIELD_BYTES_HIGH : FIELD_BYTES)) {
    // Too short for ids: the decision not to sample needs none.
    return sampled ? undefined : remoteContext(false, false, Number.NaN)
  }
  const probability = sampled ? b.readFloatBE(pos + 25) : 0
  const context = remoteContext(
    sampled,
    (flags & DEBUG) !== 0,
    probability >= 0 && probability <= 1 ? probability : Number.NaN,
  )
  context.recorded = !sampled && (flags & RECORDED) !== 0
  readIds(context, b, pos + 1)
  if (high) {
    context.highHi = b.readInt32BE(pos + 29)
    context.highLo = b.readInt32BE(pos + 33)
  }
  return hasZeroId(context) ? undefined : context
}
