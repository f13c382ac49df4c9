import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { CATEGORY, logFrame, ResultCode, readLogReply } from '../../src/codec/scribe'
import { encodeRecord, type SpanRecord } from '../../src/codec/span'

/** Spans in one frame; a collector takes only so many bytes in one. */
const FRAME = 1000

/** Sends spans as Scribe does; resolves when all of them have been answered with OK. @param address `host:port` */
export async function sendSpans(address: string, records: SpanRecord[]): Promise<void> {
  const [host, port] = address.split(':')
  const socket = connect(Number(port), host)
  try {
    const replies = socket[Symbol.asyncIterator]()
    let got = Buffer.alloc(0)
    for (let from = 0; from < records.length; ) {
      const some = records.slice(from, from + FRAME)
      for (const part of logFrame(1, CATEGORY, Buffer.concat(some.map(encodeRecord)))) socket.write(part)
      while (got.length < 4 || got.length < 4 + got.readInt32BE(0)) {
        const { done, value } = await replies.next()
        assert.ok(!done, 'the collector closed the connection')
        got = Buffer.concat([got, value])
      }
      const { code } = readLogReply(got.subarray(4, 4 + got.readInt32BE(0)))
      got = got.subarray(4 + got.readInt32BE(0))
      if (code === ResultCode.OK) from += FRAME
      else await new Promise(resolve => setTimeout(resolve, 50))
    }
  } finally {
    socket.destroy()
  }
}
