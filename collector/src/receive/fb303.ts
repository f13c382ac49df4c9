import { type Reader, T, type Writer } from 'milo/codec/binary'
import { version } from '../../package.json'

/**
 * The base service of every Scribe server (src/idl/fb303.thrift): its name and version, its status, and its counters.
 */
export interface Fb303 {
  /**
   * @returns a function that writes the result struct; undefined for a method that isn't one of fb303's. A oneway method
   * has no result: 'refused' or 'done'.
   * @throws CodecError for arguments that can't be read, CallRefused for arguments that are refused
   */
  call(method: string, args: Reader): Promise<Result> | Result | 'refused' | 'done' | undefined
}

export type Result = (w: Writer) => void

export interface Fb303Options {
  status(): Status
  counters(): Promise<Map<string, bigint>>
  /** Implements `shutdown` and `reinitialize`. Without it they are refused, because any client that reaches the port may call them. */
  control?: { shutdown(): void; reinitialize(): void } | undefined
}

export class CallRefused extends Error {}

export type Status = keyof typeof STATUS
const STATUS = { STARTING: 1, ALIVE: 2, STOPPING: 3, WARNING: 5 }
const STATUS_DETAILS: Record<Status, string> = {
  STARTING: 'opening its listeners',
  ALIVE: '',
  STOPPING: 'answering what is in flight',
  WARNING: 'the store refuses spans: senders get TRY_LATER',
}

const MAX_OPTIONS = 100
const MAX_OPTION_LENGTH = 4096

export function createFb303({ status, counters, control }: Fb303Options): Fb303 {
  const startedS = BigInt(Math.floor(Date.now() / 1000))
  // Peers may keep values here, as in fb303's own base class. Nothing in the collector reads them.
  const options = new Map<string, string>()
  return {
    call(method, args) {
      switch (method) {
        case 'getName':
          return stringResult('milo-collector')
        case 'getVersion':
          return stringResult(version)
        case 'getStatus':
          return w => {
            w.field(T.I32, 0)
            w.i32(STATUS[status()])
            w.byte(T.STOP)
          }
        case 'getStatusDetails':
          return stringResult(STATUS_DETAILS[status()])
        case 'getCounters':
          return counters().then(map => mapResult(map, T.I64, putI64))
        case 'getCounter': {
          const [name = ''] = readStrings(args)
          return counters().then(map => i64Result(map.get(name) ?? 0n))
        }
        case 'getOptions':
          return mapResult(options, T.STRING, (w, value) => w.string(value))
        case 'getOption': {
          const [name = ''] = readStrings(args)
          return stringResult(options.get(name) ?? '')
        }
        case 'setOption': {
          const [name = '', value = ''] = readStrings(args)
          if (name.length > MAX_OPTION_LENGTH || value.length > MAX_OPTION_LENGTH) {
            throw new CallRefused(`an option may have ${MAX_OPTION_LENGTH} characters`)
          }
          if (!options.has(name) && options.size >= MAX_OPTIONS) {
            throw new CallRefused(`there are ${MAX_OPTIONS} options already: set one of them again`)
          }
          options.set(name, value)
          return w => w.byte(T.STOP)
        }
        case 'getCpuProfile':
          // As fb303's base class answers where there is no profiler.
          return stringResult('')
        case 'aliveSince':
          return i64Result(startedS)
        case 'shutdown':
        case 'reinitialize':
          if (control === undefined) return 'refused'
          control[method]()
          return 'done'
      }
    },
  }
}

/** The string arguments by field id, from 1. */
function readStrings(args: Reader): (string | undefined)[] {
  const out: (string | undefined)[] = []
  for (;;) {
    const type = args.byte()
    if (type === T.STOP) return out
    const id = args.i16()
    if (type === T.STRING && (id === 1 || id === 2)) out[id - 1] = args.string()
    else args.skip(type)
  }
}

function stringResult(value: string): Result {
  return w => {
    w.field(T.STRING, 0)
    w.string(value)
    w.byte(T.STOP)
  }
}

function i64Result(value: bigint): Result {
  return w => {
    w.field(T.I64, 0)
    putI64(w, value)
    w.byte(T.STOP)
  }
}

function mapResult<V>(map: Map<string, V>, valueType: T, put: (w: Writer, value: V) => void): Result {
  return w => {
    w.field(T.MAP, 0)
    w.byte(T.STRING)
    w.byte(valueType)
    w.i32(map.size)
    for (const [key, value] of map) {
      w.string(key)
      put(w, value)
    }
    w.byte(T.STOP)
  }
}

function putI64(w: Writer, value: bigint): void {
  w.reserve(8)
  w.pos = w.buf.writeBigInt64BE(BigInt.asIntN(64, value), w.pos)
}
