import type { Transform } from 'node:stream'
import * as zlib from 'node:zlib'

/** How files of an export may be compressed. */
export const COMPRESSIONS = ['none', 'gzip', 'zstd'] as const
export type Compression = (typeof COMPRESSIONS)[number]

export const EXTENSIONS: Record<Compression, string> = { none: '', gzip: '.gz', zstd: '.zst' }

/** Base64 has few repetitions to look for: higher levels take several times as long and gain little. */
const GZIP_LEVEL = 1

/** Node's from 22.15 on, and not in its types for 20. */
const { createZstdCompress } = zlib as { createZstdCompress?: () => Transform }

/** Whether this Node has it. */
export function hasCompression(compression: Compression): boolean {
  return compression !== 'zstd' || createZstdCompress !== undefined
}

/** Makes what compresses a file; the same bytes in, the same bytes out. */
export function compressor(compression: Compression): Transform | undefined {
  if (compression === 'none') return undefined
  return compression === 'gzip' ? zlib.createGzip({ level: GZIP_LEVEL }) : createZstdCompress!()
}
