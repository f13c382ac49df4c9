import type { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { isZipped } from './body'

/** Yields what a stream has, decompressed if it begins as gzip does. The stream isn't destroyed when the reader stops early. */
export async function* unzipped(source: Readable): AsyncGenerator<Buffer> {
  const chunks = source.iterator({ destroyOnReturn: false }) as AsyncIterableIterator<Buffer>
  let start: Buffer = Buffer.alloc(0)
  // Two bytes tell.
  while (start.length < 2) {
    const { done, value } = await chunks.next()
    if (done) break
    start = start.length === 0 ? value : Buffer.concat([start, value])
  }
  if (!isZipped(start)) {
    if (start.length > 0) yield start
    yield* chunks
    return
  }
  const gunzip = createGunzip()
  const feed = async () => {
    gunzip.write(start)
    for await (const chunk of chunks) {
      if (!gunzip.write(chunk)) await new Promise(resolve => gunzip.once('drain', resolve).once('close', resolve))
      if (gunzip.destroyed) return
    }
    gunzip.end()
  }
  const fed = feed().catch(error => void gunzip.destroy(error))
  try {
    yield* gunzip as AsyncIterable<Buffer>
  } finally {
    gunzip.destroy()
    // Nobody reads the stream any more when this has ended: its owner may drain it.
    await fed
  }
}
