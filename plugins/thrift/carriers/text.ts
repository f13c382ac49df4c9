/*
 * Text of carriers: some dozens of characters of ASCII, in every call. To go to Buffer's own code, which is in C++, costs more than
 * to look at them here.
 */

/** In UTF-8. */
export function byteLength(text: string): number {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return Buffer.byteLength(text)
  return text.length
}

/** @returns how many bytes it has in UTF-8 */
export function putUtf8(b: Buffer, at: number, text: string): number {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code > 0x7f) return b.write(text, at)
    b[at + i] = code
  }
  return text.length
}
