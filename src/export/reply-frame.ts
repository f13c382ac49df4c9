/**
 * Collects the one framed Thrift message that answers a call.
 * @param maxBytes a longer frame comes from a peer that isn't one of these
 * @param read is given the message, once it is whole
 * @returns takes bytes as they come, and returns what `read` does; throws when this is no answer
 */
export function replyFrame<R>(maxBytes: number, read: (message: Buffer) => R): (data: Buffer) => R | undefined {
  const parts: Buffer[] = []
  let bytes = 0
  /** Of the frame, including its length word; 0 until that has come. */
  let length = 0
  return data => {
    parts.push(data)
    bytes += data.length
    if (length === 0) {
      if (bytes < 4) return undefined
      const n = Buffer.concat(parts).readInt32BE(0)
      if (n === HTTP) throw new Error("a reply in HTTP: this isn't a Scribe's port (a Milo collector's is 2100)")
      if (n <= 0 || n > maxBytes) throw new Error(`a reply of ${n} bytes: this isn't a Scribe`)
      length = 4 + n
    }
    if (bytes < length) return undefined
    if (bytes > length) throw new Error('more than one reply to a call')
    return read(Buffer.concat(parts).subarray(4))
  }
}

/** How a web server's answers begin, as a length. */
const HTTP = 0x48545450
