import * as zlib from 'node:zlib'

const ofNode = (zlib as { crc32?: (data: Buffer) => number }).crc32

/** CRC-32 as in zlib, which Node's has from 20.15 on. */
export function crc32(data: Buffer): number {
  if (ofNode !== undefined) return ofNode(data)
  let crc = 0xffffffff
  for (let i = 0; i < data.length; i++) crc = TABLE[(crc ^ data[i]!) & 0xff]! ^ (crc >>> 8)
  return (crc ^ 0xffffffff) >>> 0
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
  return crc
})
