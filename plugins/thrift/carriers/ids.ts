import type { RemoteContext, Span } from 'milo/plugin'

/** The three ids as CALLTRACE and Milo's field carry them, each an i64. */

/** Puts trace, span and parent id: 24 bytes. */
export function putIds(b: Buffer, pos: number, span: Span): void {
  b.writeInt32BE(span.trace.hi, pos)
  b.writeInt32BE(span.trace.lo, pos + 4)
  b.writeInt32BE(span.idHi, pos + 8)
  b.writeInt32BE(span.idLo, pos + 12)
  b.writeInt32BE(span.parentHi, pos + 16)
  b.writeInt32BE(span.parentLo, pos + 20)
}

/** Reads those 24 bytes into the context. */
export function readIds(context: RemoteContext, b: Buffer, pos: number): void {
  context.hi = b.readInt32BE(pos)
  context.lo = b.readInt32BE(pos + 4)
  context.spanHi = b.readInt32BE(pos + 8)
  context.spanLo = b.readInt32BE(pos + 12)
  context.parentHi = b.readInt32BE(pos + 16)
  context.parentLo = b.readInt32BE(pos + 20)
  context.hasIds = true
}
