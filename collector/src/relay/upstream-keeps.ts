import { setTimeout as sleep } from 'node:timers/promises'
import { MessageType, Reader, T, Writer, writeMessageBegin } from 'milo/codec/binary'
import { readKeepsReply, UNKNOWN_METHOD, writeKeepsFrame } from 'milo/codec/keeps'
import type { Keeping } from '../keep/keeping'
import type { LogRarely } from '../log'
import type { Ring } from '../store/keeps'
import { ScribeConnection, type UpstreamAddress } from './scribe-connection'

/**
 * What upstreams tell to keep after the fact, for the processes that ask this relay: one question up for all of theirs, while any of
 * them asks, to the first upstream that answers. The other way it tells which processes these are.
 */
export interface UpstreamKeeps {
  close(): Promise<void>
}

interface UpstreamKeepsOptions {
  upstreams: UpstreamAddress[]
  keeping: Keeping
  warn: LogRarely
}

const WAIT_MS = 20_000
const REPLY_MS = WAIT_MS + 10_000
const TOLD_MS = 5_000
/** A thousand entries, and what is around them. */
const MAX_REPLY_BYTES = 64 * 1024
/** After a while without processes, the first question is about so long ago as well. */
const HISTORY_US = 30_000_000
/** Pauses after a round of all upstreams in vain; each is twice the last. */
const RETRY_MS = [200, 30_000] as const
/** When upstreams that don't know the method are asked again. */
const AGAIN_MS = 600_000
const LOOK_MS = 100
/** Replies with news come no faster than this from an honest upstream. */
const PACE_MS = 20
const MAX_RINGS = 1_000
const RINGS_MS = 10_000

export function askUpstreams({ upstreams, keeping, warn }: UpstreamKeepsOptions): UpstreamKeeps {
  const ending = new AbortController()
  const { signal } = ending
  const rest = (ms: number) => sleep(ms, undefined, { signal, ref: false }).catch(() => {})
  /** The upstream that answered last. */
  let current = 0
  let connection: ScribeConnection | undefined

  async function ask(): Promise<void> {
    let sinceUs = 0
    let retryMs: number = RETRY_MS[0]
    let inVain = 0
    let unknown = 0
    while (!signal.aborted) {
      if (!keeping.feed.isAsked()) {
        sinceUs = 0
        connection?.close()
        await rest(LOOK_MS)
        continue
      }
      const address = upstreams[current]!
      try {
        connection ??= new ScribeConnection(address, MAX_REPLY_BYTES)
        const since = sinceUs || Date.now() * 1000 - HISTORY_US
        const { reply, exception } = await connection.call(id => question(id, since), readKeepsReply, REPLY_MS)
        if (reply !== undefined) {
          keeping.passOn(reply.keeps)
          // An upstream that has nothing to say, and says so at once, again and again.
          if (reply.nextUs === sinceUs && reply.keeps.length === 0) await rest(LOOK_MS)
          else if (sinceUs !== 0) await rest(PACE_MS)
          sinceUs = reply.nextUs
          ;[inVain, unknown, retryMs] = [0, 0, RETRY_MS[0]]
          continue
        }
        if (exception === UNKNOWN_METHOD) unknown++
      } catch (error) {
        if (!signal.aborted)
          warn('keeps upstream', { ...where(address), err: error }, 'an upstream does not tell what to keep')
      }
      connection?.close()
      connection = undefined
      current = (current + 1) % upstreams.length
      if (++inVain % upstreams.length !== 0) continue
      if (unknown >= upstreams.length) {
        warn(
          'keeps unknown',
          where(address),
          "no upstream knows what to keep after the fact, as Milo's collectors do: this relay's processes keep their own spans only",
        )
        await rest(AGAIN_MS)
      } else await rest(retryMs * (0.5 + Math.random() / 2))
      unknown = 0
      retryMs = Math.min(retryMs * 2, RETRY_MS[1])
    }
  }

  /** On a connection of its own: a call behind the question would end it. */
  async function tell(): Promise<void> {
    let hasNews = false
    keeping.rings.onNews = () => {
      hasNews = true
    }
    for (let looks = 0; !signal.aborted; looks++) {
      await rest(LOOK_MS)
      if (!hasNews && looks % (RINGS_MS / LOOK_MS) !== 0) continue
      hasNews = false
      const rings = keeping.rings.take()
      if (rings.length === 0 || signal.aborted) continue
      const telling = new ScribeConnection(upstreams[current]!, MAX_REPLY_BYTES)
      try {
        for (let i = 0; i < rings.length; i += MAX_RINGS) {
          const some = rings.slice(i, i + MAX_RINGS)
          await telling.call(id => ringsFrame(id, some, keeping.nowUs()), readSeqid, TOLD_MS)
        }
      } catch {
        // The question says what is wrong with an upstream.
        keeping.rings.putBack(rings)
        hasNews = true
        await rest(RETRY_MS[0])
      } finally {
        telling.close()
      }
    }
  }

  const running = Promise.all([ask(), tell()])
  return {
    async close() {
      ending.abort()
      connection?.close()
      await running
    },
  }
}

function question(seqid: number, sinceUs: number): Buffer {
  const w = new Writer(128)
  const nobody = { service: '', host: '', processHi: 0, processLo: 0, historyUs: 0, listening: [], madeUs: 0, nowUs: 0 }
  writeKeepsFrame(w, seqid, { sinceUs, waitMs: WAIT_MS, ...nobody })
  return w.take()
}

function ringsFrame(seqid: number, rings: Ring[], nowUs: number): Buffer {
  const w = new Writer()
  w.i32(0)
  writeMessageBegin(w, { strict: true, type: MessageType.CALL, name: 'rings', seqid })
  w.field(T.LIST, 1)
  w.byte(T.STRUCT)
  w.i32(rings.length)
  for (const { service, host, process, historyUs, seenUs, ended, listening, madeUs, toldUs, aheadUs } of rings) {
    w.field(T.STRING, 1)
    w.string(service)
    w.field(T.STRING, 2)
    w.string(host)
    w.field(T.I64, 3)
    w.i64(Number(process >> 32n), Number(process & 0xffffffffn))
    w.field(T.I64, 4)
    w.i64FromNumber(historyUs)
    w.field(T.I64, 5)
    w.i64FromNumber(seenUs)
    w.field(T.BOOL, 6)
    w.byte(ended ? 1 : 0)
    w.field(T.LIST, 7)
    w.strings(listening)
    w.field(T.I64, 8)
    w.i64FromNumber(madeUs)
    w.field(T.I64, 9)
    w.i64FromNumber(toldUs)
    if (aheadUs !== undefined) {
      w.field(T.I64, 10)
      w.i64FromNumber(aheadUs)
    }
    w.byte(T.STOP)
  }
  w.field(T.I64, 2)
  w.i64FromNumber(nowUs)
  w.byte(T.STOP)
  const frame = w.take()
  frame.writeInt32BE(frame.length - 4, 0)
  return frame
}

function readSeqid(message: Buffer): { seqid: number } {
  return new Reader(message).messageBegin()
}

function where({ host, port }: UpstreamAddress): object {
  return { upstream: `${host}:${port}` }
}
