import type { IncomingMessage } from 'node:http'
import { promisify } from 'node:util'
import zlib from 'node:zlib'
import { HttpError } from '../http/errors'

/** How long a body may take to arrive. */
const BODY_DEADLINE_MS = 30_000

type Decompress = (body: Buffer, options: object, done: (error: Error | null, result: Buffer) => void) => void

/**
 * Reads a complete body.
 * @param hold called with each chunk's length; throws when there is no room for the chunk
 * @throws HttpError when the body is too large or ends early, and what `hold` throws
 */
export function receiveBody(raw: IncomingMessage, maxBytes: number, hold: (bytes: number) => void): Promise<Buffer> {
  const tooLarge = () => new HttpError(413, 'MILO_BODY_TOO_LARGE', `the body is over ${maxBytes} bytes`)
  if (Number(raw.headers['content-length']) > maxBytes) throw tooLarge()
  const chunks: Buffer[] = []
  let length = 0
  return new Promise((resolve, reject) => {
    // The deadline holds also after the answer: a sender that never ends would keep the connection.
    const deadline = setTimeout(() => raw.destroy(), BODY_DEADLINE_MS)
    raw.on('data', (chunk: Buffer) => {
      length += chunk.length
      try {
        if (length > maxBytes) throw tooLarge()
        hold(chunk.length)
        chunks.push(chunk)
      } catch (error) {
        chunks.length = 0
        reject(error)
        raw.removeAllListeners('data').resume()
      }
    })
    raw.on('end', () => {
      clearTimeout(deadline)
      resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks))
    })
    raw.on('close', () => {
      clearTimeout(deadline)
      reject(new HttpError(400, 'MILO_BAD_BODY', 'the body ended early'))
    })
    raw.on('error', () => {})
  })
}

/**
 * Returns the function that decompresses a body, by its content-encoding.
 * @returns undefined when the body isn't compressed
 */
export function decompressorOf(
  raw: IncomingMessage,
  maxBytes: number,
): ((body: Buffer) => Promise<Buffer>) | undefined {
  const encoding = raw.headers['content-encoding']?.trim().toLowerCase() ?? ''
  if (encoding === '' || encoding === 'identity' || encoding === 'none') return undefined
  return async body => {
    try {
      return await decompressed(body, methodOf(encoding, body), encoding, maxBytes)
    } catch (error) {
      // A proxy may have decompressed the body and kept the header.
      if (error instanceof HttpError && error.status !== 413 && startsReadably(body)) return body
      throw error
    }
  }
}

/** @throws HttpError for an unsupported encoding */
function methodOf(encoding: string, body: Buffer): Decompress {
  if (encoding === 'gzip' || encoding === 'x-gzip') return zlib.gunzip
  // Deflate should be in zlib's wrapper, whose first byte says 8 in its low half; some senders leave it out.
  if (encoding === 'deflate') return (body[0]! & 0xf) === 8 ? zlib.inflate : zlib.inflateRaw
  if (encoding === 'br') return zlib.brotliDecompress
  // Node has it since 22.15.
  const { zstdDecompress } = zlib as unknown as { zstdDecompress?: Decompress }
  if (encoding === 'zstd' && zstdDecompress !== undefined) return zstdDecompress
  const known = `gzip, deflate, br,${zstdDecompress === undefined ? '' : ' zstd'} or identity`
  throw new HttpError(415, 'MILO_BAD_CONTENT_ENCODING', `content-encoding must be ${known}, not ${encoding}`)
}

export function unzip(body: Buffer, maxBytes: number): Promise<Buffer> {
  return decompressed(body, zlib.gunzip, 'gzip', maxBytes)
}

async function decompressed(body: Buffer, method: Decompress, encoding: string, maxBytes: number): Promise<Buffer> {
  if (body.length === 0) return body
  try {
    return await promisify<Buffer, object, Buffer>(method)(body, { maxOutputLength: maxBytes })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ERR_BUFFER_TOO_LARGE') {
      throw new HttpError(413, 'MILO_BODY_TOO_LARGE', `the body is over ${maxBytes} bytes once decompressed`)
    }
    throw new HttpError(400, 'MILO_BAD_BODY', `the body is not ${encoding}: ${message}; nothing of it is stored`)
  }
}

export function isZipped(body: Buffer): boolean {
  return body[0] === 0x1f && body[1] === 0x8b
}

/** Returns whether a body starts like JSON or like a row of protobuf messages. */
function startsReadably(body: Buffer): boolean {
  return body.length === 0 || [0x7b, 0x5b, 0x0a].includes(body[0]!)
}
