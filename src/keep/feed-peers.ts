import { Writer } from '../codec/binary'
import { type KeepsRequest, readKeepsReply, UNKNOWN_METHOD, writeKeepsFrame } from '../codec/keeps'
import type { Address } from '../export/connection'
import { ReplyReader, requestHead } from '../export/http/call'
import type { HttpTarget } from '../export/http/target'
import type { Call } from '../export/protocol'
import { replyFrame } from '../export/reply-frame'
import { toHex } from '../trace/id'

/** What a peer has said. */
export interface Told {
  /** Undefined: it has refused to tell. */
  reply: { nextUs: number; keeps: Buffer } | undefined
  /** Nobody there knows what is asked. */
  isUnknown: boolean
}

/** Somebody who may know which traces to keep. */
export interface FeedPeer {
  /** As messages name it. */
  name: string
  address: Address
  /** Whether a connection on which nothing is asked ends only with the peer. */
  staysOpen: boolean
  /** @param told is given what it has said, before the answer */
  call(request: KeepsRequest, told: (what: Told) => void): Call
}

/** A thousand entries, and what is around them. */
const MAX_REPLY_BYTES = 16 * 1024

/** Asks on the Scribe port. */
export function overScribe(address: Address): FeedPeer {
  let seqid = 0
  return {
    name: 'Scribe',
    address,
    staysOpen: true,
    call(request, told) {
      seqid = (seqid % 0x7fffffff) + 1
      const w = new Writer(256)
      writeKeepsFrame(w, seqid, request)
      const read = replyFrame(MAX_REPLY_BYTES, message => {
        const { seqid: answered, reply, exception } = readKeepsReply(message)
        if (answered !== seqid) throw new Error('a reply to another call')
        told({ reply, isUnknown: exception === UNKNOWN_METHOD })
        return { code: reply === undefined ? ('refused' as const) : ('ok' as const) }
      })
      return { parts: [w.empty()], read }
    },
  }
}

/** What an exporter's path ends with, in whose place the feed's comes. */
const SPANS_PATH = /\/(v1\/traces|api\/v[12]\/spans)\/?(\?.*)?$/

/** Asks where an exporter sends spans to, with its headers: a Milo collector has both there. */
export function overHttp(target: HttpTarget): FeedPeer {
  const { kind, address, path } = target
  const base = SPANS_PATH.test(path) ? path.replace(SPANS_PATH, '') : ''
  return {
    name: kind === 'otlp' ? 'OTLP' : 'Zipkin',
    address,
    staysOpen: false,
    call(request, told) {
      const { sinceUs, waitMs, service, host, processHi, processLo, historyUs, madeUs, nowUs, listening } = request
      const query = new URLSearchParams({
        ...{ since: String(sinceUs), wait: String(waitMs), service, host },
        ...{ process: String(BigInt(`0x${toHex(processHi, processLo)}`)), history: String(historyUs) },
        ...{ made: String(madeUs), now: String(nowUs), listening: listening.join(',') },
      })
      const reader = new ReplyReader(({ status, headers, body }) => {
        const next = headers.get('milo-next')
        const isReply = status === 200 && next !== undefined && /^\d{1,19}$/.test(next)
        const reply = isReply ? { nextUs: Number(next), keeps: body } : undefined
        // Milo's refusals, and those of what stands before it: it may tell later.
        const isUnknown = !isReply && ![401, 403, 408, 429, 500, 502, 503, 504].includes(status)
        told({ reply, isUnknown })
        const length = Number(headers.get('content-length') ?? body.length)
        // Of a longer one, not all has been read.
        if (isReply && (length !== body.length || length > MAX_REPLY_BYTES))
          throw new Error('a reply of too many bytes')
        return { code: isReply ? 'ok' : 'refused' }
      })
      return {
        parts: [requestHead(`GET ${base}/api/keeps/feed?${query}`, target)],
        read: data => reader.read(data),
        end: () => reader.end(),
      }
    },
  }
}
