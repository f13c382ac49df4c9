import type { RemoteContext, Span } from 'milo/plugin'

/** The three ids as CALLTRACE and Milo's field carry them, each an i64. */

/** Puts trace, span and parent id: 24 bytes. */
export function putIds(b: Buffer, pos: number, { trace, idHi, idLo, parentHi, parentLo }: Span): void {
  putInt(b, pos, trace.hi)
  putInt(b, pos + 4, trace.lo)
  putInt(b, pos + 8, idHi)
  putInt(b, pos + 12, idLo)
  putInt(b, pos + 16, parentHi)
  putInt(b, pos + 20, parentLo)
}

/** Reads those 24 bytes into the context. */
export function readIds(context: RemoteContext, b: Buffer, pos: number): void {
  context.hi = intAt(b, pos)
  context.lo = intAt(b, pos + 4)
  context.spanHi = intAt(b, pos + 8)
  context.spanLo = intAt(b, pos + 12)
  context.parentHi = intAt(b, pos + 16)
  context.parentLo = intAt(b, pos + 20)
  context.hasIds = true
}

/** Buffer's own methods look at their arguments and at the bounds each time, which takes ten times as long. */
function putInt(b: Buffer, pos: number, n: number): void {
  b[pos] = n >>> 24
  b[pos + 1] = n >>> 16
  b[pos + 2] = n >>> 8
  b[pos + 3] = n
}

function intAt(b: Buffer, pos: number): number {
  return (b[pos]! << 24) | (b[pos + 1]! << 16) | (b[pos + 2]! << 8) | b[pos + 3]!
}
