import type { Writer } from '../codec/binary'
import type { LiveSpan } from '../trace/span'

/**
 * What an exporter speaks. The emitter knows when a batch is sent and what becomes of it; a protocol knows its bytes:
 *
 *     span ──writeSpan──▶ writer ──seal──▶ body (which the spool keeps) ──call──▶ bytes for the peer ──read──▶ answer
 */
export interface Protocol {
  /** The peer, as messages name it. */
  readonly peer: string
  /**
   * Appends an ended span.
   * @returns how many bytes it takes in a batch
   * @throws when it can't be encoded
   */
  writeSpan(w: Writer, span: LiveSpan): number
  /**
   * Makes a body of the spans in the writer, at least one, and empties it. Whatever the body says is final. It may lie in the writer's
   * buffer: the writer goes on in another one then.
   */
  seal(w: Writer): Buffer
  /** Begins a call that hands a body over. The connection that it is made on has no other. */
  call(body: Buffer): Call
}

export interface Call {
  /** What goes to the peer, one after the other. */
  parts: readonly Buffer[]
  /**
   * Takes bytes as they come from the peer, within limits of its own.
   * @returns the answer once it is whole
   * @throws when this is no answer
   */
  read(data: Buffer): Answer | undefined
  /** @returns the answer, if the end of the connection completes it */
  end?(): Answer | undefined
}

/** The outcome of a call. */
export interface Answer {
  /**
   * `refused`: the peer takes other batches, perhaps, but not this one. `failed`: the peer may or may not have the batch, and
   * the connection is of no use any more. `stale`: the same, but only because the connection had been idle for too long.
   */
  code: 'ok' | 'try_later' | 'refused' | 'failed' | 'stale'
  /** For the log: why it isn't simply OK. */
  reason?: string
  /** How many spans of a batch that is OK were left out. */
  rejected?: number
  /** When the peer wants to be asked again, in milliseconds from now. */
  afterMs?: number
  /** Whether the peer takes no further call on this connection. */
  closes?: boolean
}
