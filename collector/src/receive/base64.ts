import { DELIMITER_BYTES } from './record-search'
import type { StepClock } from './step-clock'

/**
 * Returns whether an entry is base64 (padded or not, in lines or not, several pieces in a row), which senders behind text-only
 * Scribe relays use. A raw record isn't mistaken for base64: its delimiter's first byte isn't ASCII.
 */
export function isText(entry: Buffer): boolean {
  return entry.length > 0 && entry[0] !== DELIMITER_BYTES[0]
}

const SPACE = 64
const PADDING = 65
const NEITHER = 66
/** The value of each byte in base64, for both alphabets. */
const BASE64 = new Uint8Array(256).fill(NEITHER)
for (const [i, c] of [...Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/')].entries()) {
  BASE64[c] = i
}
BASE64[0x2d] = 62
BASE64[0x5f] = 63
BASE64[0x3d] = PADDING
for (const c of Buffer.from(' \t\n\v\f\r')) BASE64[c] = SPACE

/** Up to this length, base64 of the common form is decoded at once, by Node. */
const NATIVE_BYTES = 256 * 1024

/** @returns the entry itself when it isn't base64; `cut` when the base64 ends in something else, which is left out */
export function* readText(entry: Buffer, clock: StepClock): Generator<void, { bytes: Buffer; cut: boolean }> {
  if (entry.length <= NATIVE_BYTES) {
    const text = entry.toString('latin1')
    if (/^[A-Za-z0-9+/]+={0,2}\n?$/.test(text)) return { bytes: Buffer.from(text, 'base64'), cut: false }
  }
  const bytes = Buffer.allocUnsafeSlow(Math.ceil((entry.length * 3) / 4))
  let length = 0
  let bits = 0
  let held = 0
  let pos = 0
  for (; pos < entry.length; pos++) {
    const v = BASE64[entry[pos]!]!
    if (v < 64) {
      held = (held << 6) | v
      bits += 6
      if (bits >= 8) {
        bits -= 8
        bytes[length++] = held >>> bits
      }
    } else if (v === PADDING) bits = 0
    else if (v === NEITHER) break
    if ((pos & 4095) === 4095 && clock.over()) yield* clock.rest()
  }
  const cut = pos < entry.length
  // It isn't base64 at all, unless it began like a record.
  if (cut && !bytes.subarray(0, Math.min(length, 4)).equals(DELIMITER_BYTES)) return { bytes: entry, cut: false }
  return { bytes: bytes.subarray(0, length), cut }
}
