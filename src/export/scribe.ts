import { CATEGORY, logFrame, ResultCode, readLogReply } from '../codec/scribe'
import { writeSpan } from './encode'
import type { Answer, Protocol } from './protocol'
import { replyFrame } from './reply-frame'

export type ScribeEncoding = 'raw' | 'base64'

/** A reply to Log takes about 20 bytes and an exception about 100. A peer that sends more than this isn't a Scribe. */
const MAX_REPLY_BYTES = 16 * 1024

/**
 * Spans as Milo's records (docs/wire-format.md), in one `Log` call a batch.
 * @param hostOf is asked once, for the first span
 */
export function scribe(service: string, hostOf: () => string, encoding: ScribeEncoding): Protocol {
  let lastSeqid = 0
  let host: string | undefined
  return {
    peer: 'Scribe',
    writeSpan: (w, span) => writeSpan(w, span, service, (host ??= hostOf())),
    seal: w => w.empty(),
    call(records) {
      const seqid = (lastSeqid = (lastSeqid % 0x7fffffff) + 1)
      const message = encoding === 'raw' ? records : Buffer.from(records.toString('base64'), 'latin1')
      return { parts: logFrame(seqid, CATEGORY, message), read: replyTo(seqid) }
    },
  }
}

function replyTo(seqid: number): (data: Buffer) => Answer | undefined {
  return replyFrame(MAX_REPLY_BYTES, message => {
    const reply = readLogReply(message)
    if (reply.seqid !== seqid) throw new Error('a reply to another call')
    const { OK, TRY_LATER } = ResultCode
    return { code: reply.code === OK ? 'ok' : reply.code === TRY_LATER ? 'try_later' : 'refused' }
  })
}
