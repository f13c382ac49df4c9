import {
  CodecError,
  type MessageHeader,
  MessageType,
  type Reader,
  T,
  Writer,
  writeMessageBegin,
} from 'milo/codec/binary'
import { logEntries } from 'milo/codec/scribe'
import type { Logger, limitWarnings } from '../log'
import type { Metrics } from '../metrics'
import { CallRefused, type Fb303, type Result } from './fb303'
import type { Ingest, Sender } from './ingest'
import { type Asking, answerKeeps, takeRings } from './keeps-call'

const MAX_METHOD_LENGTH = 256
/** TApplicationException's types. */
const UNKNOWN_METHOD = 1
const INTERNAL_ERROR = 6
const PROTOCOL_ERROR = 7

const NO_REPLY = Buffer.alloc(0)

export interface Caller extends Sender {
  /** Address and port, for the log. */
  readonly peer: string
  readonly address: string
  /** Returns whether no other call waits for the reply of the one that is read. */
  isAlone(): boolean
  /** Answers the call that waits for something to happen. */
  endPoll: (() => void) | undefined
  /** What to do when the peer has gone. */
  gone: (() => void) | undefined
}

interface CallsOptions {
  ingest: Ingest
  fb303: Fb303
  keeping: Asking
  metrics: Metrics
  warn: ReturnType<typeof limitWarnings>
  log: Logger
}

/** @throws CodecError when it isn't the header of a call. Then the frames that follow can't be trusted */
export function readCallHeader(reader: Reader): MessageHeader {
  const header = reader.messageBegin()
  const { type, name } = header
  if (type !== MessageType.CALL && type !== MessageType.ONEWAY && type !== MessageType.CALLTRACE) {
    throw new CodecError('bad_message_type', `a message of type ${type}, which isn't a call`)
  }
  if (name.length > MAX_METHOD_LENGTH) {
    throw new CodecError(
      'bad_method',
      `a method name of ${name.length} characters: at most ${MAX_METHOD_LENGTH} are allowed`,
    )
  }
  // The original's collector spoke the original's protocol: the ids say nothing about the spans that follow.
  if (type === MessageType.CALLTRACE) for (let i = 0; i < 3; i++) reader.i64()
  return header
}

/** Runs Log, `keeps` and fb303's methods. Any other method, and any error, is answered with an exception. */
export class Calls {
  private readonly options: CallsOptions

  constructor(options: CallsOptions) {
    this.options = options
  }

  /**
   * Reads a call in steps.
   * @param reader the call's arguments
   * @param answer called once, at once or later, with the frame of the reply, which is empty for a call without a reply
   */
  *run(header: MessageHeader, reader: Reader, caller: Caller, answer: (reply: Buffer) => void): Generator<void, void> {
    const { name } = header
    const reply = (type: number, result: Result) =>
      answer(header.type === MessageType.ONEWAY ? NO_REPLY : encodeReply({ ...header, type }, result))
    const fail = (error: unknown) => reply(MessageType.EXCEPTION, this.explain(error, name, caller.peer))
    try {
      if (name === 'keeps') {
        this.keeps(header, reader, caller, result => reply(MessageType.REPLY, result))
        return
      }
      const result = name === 'Log' ? yield* this.log(reader, caller) : this.callOther(name, reader, caller.peer)
      if (result instanceof Promise) result.then(result => reply(MessageType.REPLY, result)).catch(fail)
      // The method is oneway: a peer that called it otherwise gets no reply either.
      else if (result === 'refused' || result === 'done') answer(NO_REPLY)
      else if (result !== undefined) reply(MessageType.REPLY, result)
      else reply(MessageType.EXCEPTION, exception(UNKNOWN_METHOD, `Invalid method name: '${name}'`))
    } catch (error) {
      fail(error)
    }
  }

  private *log(args: Reader, sender: Sender): Generator<void, Promise<Result>> {
    const { ingest, metrics } = this.options
    metrics.calls.inc({ method: 'Log' })
    const reading = ingest.log(logEntries(args), args.buf.length, sender)
    const answer = reading instanceof Promise ? reading : yield* reading
    return answer.then(code => w => {
      w.field(T.I32, 0)
      w.i32(code)
      w.byte(T.STOP)
    })
  }

  /** The reply waits until there is something to say, the time is over, or another call comes on the same connection. */
  private keeps(header: MessageHeader, args: Reader, caller: Caller, answer: (result: Result) => void): void {
    const { keeping, metrics } = this.options
    metrics.calls.inc({ method: 'keeps' })
    const mayWait = header.type !== MessageType.ONEWAY && caller.isAlone()
    let answered = false
    const { gone, poll } = answerKeeps(keeping, args, caller.address, mayWait, result => {
      answered = true
      caller.endPoll = undefined
      answer(result)
    })
    caller.gone = gone
    if (!answered && poll !== undefined) caller.endPoll = () => poll.end()
  }

  private callOther(method: string, args: Reader, peer: string): ReturnType<Fb303['call']> {
    const { fb303, keeping, metrics, warn } = this.options
    const result = method === 'rings' ? takeRings(keeping, args) : fb303.call(method, args)
    metrics.calls.inc({ method: result === undefined ? 'unknown' : method })
    if (result === 'refused') warn(method, { peer, method }, 'refused: fb303.allow_shutdown is not set')
    return result
  }

  /** Counts and logs why a call failed. @returns the exception that says so */
  private explain(error: unknown, method: string, peer: string): Result {
    const { metrics, log, warn } = this.options
    if (error instanceof CallRefused) return exception(INTERNAL_ERROR, error.message)
    if (error instanceof CodecError) {
      if (method === 'Log') metrics.logResults.inc({ result: 'bad_arguments' })
      warn('arguments', { peer, method, detail: error.message }, 'the arguments of a call could not be read')
      return exception(PROTOCOL_ERROR, `bad arguments: ${error.message}`)
    }
    log.error({ err: error, peer, method }, 'a call failed')
    return exception(INTERNAL_ERROR, 'the collector failed; its log says why')
  }
}

/** The frame of a reply, in the form (strict or not) of its request. */
function encodeReply(header: MessageHeader, result: Result): Buffer {
  const w = new Writer(64)
  w.i32(0)
  writeMessageBegin(w, header)
  result(w)
  w.buf.writeInt32BE(w.pos - 4, 0)
  return w.take()
}

function exception(type: number, message: string): Result {
  return w => {
    w.field(T.STRING, 1)
    w.string(message)
    w.field(T.I32, 2)
    w.i32(type)
    w.byte(T.STOP)
  }
}
