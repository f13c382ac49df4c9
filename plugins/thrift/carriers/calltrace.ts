import { hasZeroId, type RemoteContext, remoteContext, type Span } from 'milo/plugin'
import { putIds, readIds } from './ids'

/** What stands between the header and the arguments of a CALLTRACE message: the three ids. */
export function idBlock(span: Span): Buffer {
  const b = Buffer.allocUnsafe(24)
  putIds(b, 0, span)
  return b
}

/**
 * The same in 16 bytes, for the original's Java servers. A span that is to travel so has an id of 31 bits; of its parent's
 * id, the low half remains.
 */
export function idBlock16(span: Span): Buffer {
  const b = Buffer.allocUnsafe(16)
  b.writeInt32BE(span.trace.hi, 0)
  b.writeInt32BE(span.trace.lo, 4)
  b.writeInt32BE(span.idLo, 8)
  b.writeInt32BE(span.parentLo, 12)
  return b
}

/** Reads CALLTRACE's 24 bytes: only sampled calls carry them, and they leave the probability unknown. */
export function readCallTrace(b: Buffer): RemoteContext | undefined {
  const context = remoteContext(true, false, Number.NaN)
  readIds(context, b, 0)
  return hasZeroId(context) ? undefined : context
}

/** The same in the 16 bytes of the original's Java server: i64 trace id, and i32 span and parent id. */
export function readCallTrace16(b: Buffer): RemoteContext | undefined {
  const context = remoteContext(true, false, Number.NaN)
  context.hasIds = true
  context.hi = b.readInt32BE(0)
  context.lo = b.readInt32BE(4)
  context.spanLo = b.readInt32BE(8)
  context.spanHi = context.spanLo >> 31
  context.parentLo = b.readInt32BE(12)
  context.parentHi = context.parentLo >> 31
  return hasZeroId(context) ? undefined : context
}
