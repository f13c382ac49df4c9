/*
 * Text of carriers in UTF-8: some dozens of characters of ASCII, in every call. To go to Buffer's own code, which is in C++, costs as
 * much as to look at twenty characters here, and less where a string has just been put together of several.
 */

const SHORT = 20

export function byteLength(text: string): number {
  if (text.length > SHORT) return Buffer.byteLength(text)
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return Buffer.byteLength(text)
  return text.length
}

/** @returns how many bytes have been put */
export function putUtf8(b: Buffer, at: number, text: string, isAscii: boolean): number {
  if (!isAscii) return b.write(text, at)
  if (text.length > SHORT) return b.write(text, at, 'latin1')
  for (let i = 0; i < text.length; i++) b[at + i] = text.charCodeAt(i)
  return text.length
}

const TRACEPARENT = 'traceparent'

/** Of UTF-8. The key that most maps have isn't decoded. */
export function textAt(b: Buffer, start: number, end: number): string {
  return isTraceparent(b, start, end) ? TRACEPARENT : b.toString('utf8', start, end)
}

function isTraceparent(b: Buffer, start: number, end: number): boolean {
  if (end - start !== TRACEPARENT.length) return false
  for (let i = 0; i < TRACEPARENT.length; i++) if (b[start + i] !== TRACEPARENT.charCodeAt(i)) return false
  return true
}
