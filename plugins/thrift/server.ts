import {
  baggageOf,
  carrierFor,
  currentSettings,
  currentSpan,
  describe,
  type Frame,
  fillFrame,
  frameToFill,
  frameWith,
  isActive,
  Kind,
  observeThen,
  type PluginHandle,
  type RemoteContext,
  recordsUnsampled,
  runInFrame,
  type Span,
  startServerSpan,
  startSpan,
} from 'milo/plugin'
import { nameOf } from './client'
import { codeOf, sizes } from './connection'
import { sayForeign } from './foreign'
import { type Operation, operation, serviceOf } from './names'
import { askApplication, wantsArguments } from './on-request'
import { Entry, Pending } from './pending'
import {
  awaitReply,
  forgetReply,
  type IncomingRequest,
  inProgress,
  isPatched,
  isPatchedOutput,
  Outcome,
  type PendingReply,
} from './protocol'
import { apply, replace } from './replace'
import { APPLICATION_EXCEPTION, ONEWAY } from './wire'

/*
 * A server calls process() for what has arrived, again and again until a request is complete. Each time it runs in a
 * frame of its own, empty until the arguments have been read: then the request's span is put in, just before the handler
 * runs. So there is one switch of context a request, and a request that arrives byte by byte leaves nothing behind.
 *
 * Which connection a request came by is known from the socket's own `data` event, watched on its way to thrift.
 */

/** How many requests of one connection may wait for their handlers before the oldest is given up. */
const MAX_PENDING = 10_000

interface Processor {
  process(input: unknown, output: unknown): unknown
  _handler?: object
  [method: string]: unknown
}

/** A client's connection to a server. */
interface Connection {
  address: string | undefined
  port: number | undefined
  /** Annotations that say whose it is. */
  peer: readonly string[] | undefined
  pending: Pending<Request>
  /** Of the last request: mostly the next one is for the same method. */
  last: { processor: Processor; name: string; code: Generated } | undefined
}

/** The connection whose data is being handed to thrift; undefined within a web server. */
let arriving: Connection | undefined

/** Traces a processor whose class Milo hasn't seen, because other code made it. */
export function traceProcessor(processor: any, plugin: PluginHandle): void {
  if (!plugin.enabled || processor === null || typeof processor !== 'object') return
  try {
    traceProcessing(processor, plugin)
  } catch (error) {
    plugin.fail(error)
  }
}

const TRACED = Symbol('milo.traced')

/** Wraps `process` of a generated class, of the multiplexed one, or of one processor: where it is defined, for all that inherit it. */
export function traceProcessing(processor: any, plugin: PluginHandle): void {
  if (typeof processor.process !== 'function' || processor.process[TRACED] === true) return
  let owner = processor
  while (!Object.hasOwn(owner, 'process')) owner = Object.getPrototypeOf(owner)
  replace(owner, 'process', plugin, original => {
    // biome-ignore-start lint/complexity/noArguments: to be passed on as they are, they needn't be made an array
    const traced = function (this: Processor, input: any, output: any) {
      if (!plugin.enabled || !isActive()) return original.apply(this, arguments)
      // A multiplexed processor calls the one that it found. And after the last request of a chunk thrift tries once more,
      // to be thrown out: nothing is there to be traced then.
      if ((inProgress.incoming !== undefined && inProgress.incoming.trans === input?.trans) || isEmpty(input)) {
        return original.apply(this, arguments)
      }
      if (!isPatched(input) || !isPatchedOutput(output)) {
        sayForeign(isPatched(input) ? output : input)
        return original.apply(this, arguments)
      }
      return processTraced(this, original, arguments)
    }
    // biome-ignore-end lint/complexity/noArguments: see above
    return Object.defineProperty(traced, TRACED, { value: true }) as any
  })
}

/** Whether nothing is left to be read from a protocol's transport, where it is one of thrift's own. */
function isEmpty(input: any): boolean {
  const trans = input?.trans
  if (trans === undefined || trans === null) return false
  return trans.readPos >= trans.inBuf?.length || trans.readCursor >= trans.writeCursor
}

/** Knows the server's connections from now on. */
export function watchServer(server: any, secure: boolean, plugin: PluginHandle): void {
  const accepts = secure ? 'secureConnection' : 'connection'
  plugin.watchEmit(server, (self, event, args, emit) => {
    if (event === accepts && isActive()) watchSocket(args[0], plugin)
    return emit(self, event, args)
  })
}

function watchSocket(socket: any, plugin: PluginHandle): void {
  const { remoteAddress: address, remotePort: port } = socket
  const peer = address === undefined ? undefined : ['network.peer.address', address, 'network.peer.port', String(port)]
  const connection: Connection = { address, port, peer, pending: new Pending(), last: undefined }
  plugin.watchEmit(
    socket,
    (self, event, args, emit) => {
      if (event === 'close') {
        for (const request of connection.pending.all()) request.lost(socket.errored)
        return emit(self, event, args)
      }
      const outer = arriving
      arriving = connection
      try {
        return emit(self, event, args)
      } finally {
        arriving = outer
      }
    },
    (_socket, event) => event === 'data' || event === 'close',
  )
}

function processTraced(processor: Processor, process: Function, args: ArrayLike<any>): unknown {
  const connection = arriving
  const request = new Request(processor, args[0].trans, args[1], connection)
  const outer = inProgress.incoming
  inProgress.incoming = request
  try {
    const result = runInFrame(request.frame, apply, process, processor, args)
    request.returned()
    // A processor of thrift-server-core gives a promise, whose `then` its server calls; it is rejected where no reply could be made.
    if (result !== undefined && request.isWaiting) observeThen(result, nothing, error => request.threw(error))
    return result
  } catch (error) {
    request.threw(error)
    throw error
  } finally {
    inProgress.incoming = outer
    arriving = connection
    // The request wasn't complete.
    if (request.frame.unfilled !== undefined) fillFrame(request.frame, undefined)
  }
}

class Request extends Entry implements IncomingRequest, PendingReply {
  readonly frame: Frame
  begun = false
  remote: RemoteContext | undefined = undefined
  rank = 0
  baggage: string | undefined = undefined
  startsAt = 0
  name = ''
  seqid = 0
  private type = 0
  private service: string | undefined = undefined
  private code: Generated | undefined = undefined
  private isOver = false
  private requestBytes = 0
  private replyBytes = 0
  private owner: Processor
  readonly trans: unknown
  private readonly output: unknown
  private readonly connection: Connection | undefined
  /** What is current where a web server, or a transport within the process, hands a request over: its span. */
  private readonly ambient: Span | undefined = undefined

  constructor(processor: Processor, trans: unknown, output: unknown, connection: Connection | undefined) {
    super()
    this.frame = frameToFill(connection !== undefined)
    this.owner = processor
    this.trans = trans
    this.output = output
    this.connection = connection
    const around = connection === undefined ? currentSpan() : undefined
    if (around?.kind === Kind.SERVER || around?.kind === Kind.CLIENT || around?.recording === false)
      this.ambient = around
  }

  get span(): Span {
    return this.frame.span!
  }

  /** Whether a reply is to be written that will end the span. */
  get isWaiting(): boolean {
    return this.frame.span?.recording === true && !this.isOver
  }

  get legacy(): boolean {
    const { propagation } = currentSettings()!
    return (
      carrierFor(propagation, this.connection?.address?.replace(/^::ffff:/, ''), this.connection?.port) ===
      'calltrace-legacy16'
    )
  }

  begin(name: string, type: number, seqid: number): void {
    this.begun = true
    this.type = type
    this.seqid = seqid
    const services = this.owner.services as Record<string, Processor> | undefined
    const colon = services === undefined ? -1 : name.indexOf(':')
    if (colon !== -1) {
      // Multiplexed: the service's registered name goes before the method's.
      this.service = name.slice(0, colon)
      this.name = name.slice(colon + 1)
      if (Object.hasOwn(services!, this.service)) this.owner = services![this.service]!
    } else this.name = name
    if (wantsArguments()) letArgumentsBeSeen(this.owner)
  }

  argumentsRead(bytes: number): void {
    // The handler runs next. What is processed in its stack has come by no connection.
    arriving = undefined
    const baggage =
      this.baggage === undefined ? undefined : baggageOf(this.baggage, { remoteAddress: this.connection?.address })
    if (this.remote !== undefined && !this.remote.sampled && !recordsUnsampled()) {
      fillFrame(this.frame, startServerSpan('', this.remote), baggage)
      return
    }
    const generated = methodOf(this.owner, this.name, this.connection)
    this.code = generated
    const service = this.service ?? generated?.service ?? anyService(this.owner)
    // Go's clients send a oneway call as any other: whether it will be answered, only the generated code says.
    if (generated?.neverReplies) this.type = ONEWAY
    const oneway = this.type === ONEWAY
    const { name, annotations } =
      generated?.operation(service, this.name, oneway) ?? operation(service, this.name, oneway, true)
    const span =
      this.remote === undefined && this.ambient !== undefined
        ? // Not here: the frame that is current is the one to be filled.
          runInFrame(frameWith(this.ambient), startSpan, Kind.SERVER, name, false, false, annotations)
        : startServerSpan(name, this.remote, annotations)
    fillFrame(this.frame, span, baggage)
    if (!span.recording) return
    span.share(annotations, this.connection?.peer)
    this.requestBytes = bytes
    if (this.type !== ONEWAY) {
      awaitReply(this.output, this)
      const pending = this.connection?.pending
      pending?.add(this)
      if (pending !== undefined && pending.size > MAX_PENDING) {
        pending.oldest!.abandoned('too many requests wait on this connection')
      }
    }
  }

  get wantsException(): boolean {
    return this.code?.exception === null
  }

  replied(outcome: Outcome, bytes: number, message: string | undefined, exception: string | undefined): void {
    this.replyBytes = bytes
    if (outcome === Outcome.APPLICATION) this.over('application_exception', APPLICATION_EXCEPTION, message)
    else if (outcome === Outcome.DECLARED)
      this.over('exception', this.code?.exception ?? exception ?? 'declared exception')
    else this.over('ok', undefined)
  }

  /** process() has returned: a oneway request is over, as far as thrift is concerned. */
  returned(): void {
    if (this.type === ONEWAY && this.frame.span !== undefined) this.over('ok', undefined)
  }

  /** Before the arguments were complete it is thrift's way to wait for the rest; after, thrift closes the connection. */
  threw(error: unknown): void {
    if (this.frame.span === undefined || this.isOver) return
    this.span.fail(error)
    this.over('exception', undefined)
  }

  /** @param error what destroyed the connection, if it didn't just end */
  lost(error: unknown): void {
    if (!(error instanceof Error)) this.abandoned('connection closed')
    else this.over('abandoned', codeOf(error) ?? nameOf(error), describe(error))
  }

  abandoned(reason: string): void {
    this.over('abandoned', reason)
  }

  private failed(type: string, message: string | undefined): void {
    const { span } = this
    const error = thrown.get(span)
    if (error === undefined) {
      if (message !== undefined) span.annotate('error.message', message)
      span.annotate('error.type', type)
    } else {
      const name = nameOf(error)
      span.fail(error)
      // thrift-typescript's exceptions are no Errors.
      if (!(error instanceof Error)) span.annotate('error.type', name)
    }
  }

  /** The first result is what the client gets: a handler may answer, and then throw. */
  private over(result: string, errorType: string | undefined, message?: string): void {
    if (this.isOver) return
    this.isOver = true
    this.connection?.pending.delete(this)
    forgetReply(this.output, this)
    if (!this.span.recording) return
    this.span.adopt(['thrift.result', result], sizes(this.requestBytes, this.replyBytes))
    if (errorType !== undefined) this.failed(errorType, message)
    this.span.end()
  }
}

/** What handlers have thrown, by the spans of their requests: known only where they are reached through a proxy. */
const thrown = new WeakMap<Span, unknown>()

/** What a process_X says. */
class Generated {
  readonly service: string | undefined
  /** Whether it is that of a oneway method: it reads arguments and writes nothing. */
  readonly neverReplies: boolean
  /** The type of its declared exceptions; null: there are several, or a minifier may have renamed it. Undefined: it has none. */
  readonly exception: string | null | undefined
  /** The last one: several services may share a process_X. */
  private last: { service: string | undefined; method: string; oneway: boolean; operation: Operation } | undefined

  constructor(code: Function, method: string) {
    this.service = serviceOf(code, method)
    const source = Function.prototype.toString.call(code)
    this.neverReplies = /\.read\(/.test(source) && !source.includes('writeMessageBegin')
    // It looks for them in the order of their fields.
    const types = new Set([...source.matchAll(/\binstanceof (?:[\w$]+\.)?([\w$]+)/g)].map(match => match[1]!))
    const [type] = types
    this.exception = types.size === 1 && source.includes(`_${method}_args`) ? type : types.size > 0 ? null : undefined
  }

  operation(service: string | undefined, method: string, oneway: boolean): Operation {
    const { last } = this
    if (last?.service === service && last?.method === method && last.oneway === oneway) return last.operation
    this.last = { service, method, oneway, operation: operation(service, method, oneway) }
    return this.last.operation
  }
}

/**
 * To put a property's name together and to look it up takes longer than all else that is asked here.
 * @returns undefined for a method that the processor doesn't have, whose name is the caller's
 */
function methodOf(processor: Processor, name: string, connection: Connection | undefined): Generated | undefined {
  const last = connection?.last
  if (last?.name === name && last.processor === processor) return last.code
  const code = generatedOf(processor[`process_${name}`], name)
  if (code !== undefined && connection !== undefined) connection.last = { processor, name, code }
  return code
}

const generated = new WeakMap<Function, Generated>()

function generatedOf(code: unknown, method: string): Generated | undefined {
  if (typeof code !== 'function') return undefined
  let known = generated.get(code)
  if (known === undefined) {
    known = new Generated(code, method)
    generated.set(code, known)
  }
  return known
}

/** The service that a processor belongs to, by any of its methods: for a method that it doesn't have. */
function anyService(processor: Processor): string | undefined {
  for (let level: any = processor; level && level !== Object.prototype; level = Object.getPrototypeOf(level)) {
    for (const name of Object.getOwnPropertyNames(level)) {
      if (!name.startsWith('process_')) continue
      const service = serviceOf(level[name], name.slice('process_'.length))
      if (service !== undefined) return service
    }
  }
  return undefined
}

/** A handler's callback that tells which error it is given. */
function noting(span: Span, done: Function): Function {
  const noted = function (this: unknown, ...given: unknown[]) {
    note(span, given[0])
    return done.apply(this, given)
  }
  return Object.defineProperty(noted, 'length', { value: done.length, configurable: true })
}

/** Calls a handler's method, and notes what it throws or its promise is rejected with. */
function observed(span: Span, method: Function, handler: object, args: unknown[]): unknown {
  try {
    const result = method.apply(handler, args)
    // Thrift ignores what a oneway method returns, and one that has a callback: nobody may handle that promise.
    observeThen(result, nothing, error => note(span, error))
    return result
  } catch (error) {
    note(span, error)
    throw error
  }
}

function nothing(): void {}

function note(span: Span, error: unknown): void {
  if (error !== undefined && error !== null) thrown.set(span, error)
}

const proxies = new WeakSet<object>()

/**
 * Lets `onRequest` see a handler's arguments. Only an application that asked for it gets this: its handler is reached
 * through a proxy then, whose functions have the same length and `this` as its own.
 */
function letArgumentsBeSeen(processor: Processor): void {
  // Not where the processor is frozen, or has a getter: then its arguments stay unseen.
  const property = Object.getOwnPropertyDescriptor(processor, '_handler')
  const handler = property?.writable ? property.value : undefined
  if (typeof handler !== 'object' || handler === null || proxies.has(handler)) return
  // The handler itself gets no proxy: for a frozen one it could only give what is there.
  const proxy = new Proxy(Object.create(handler), {
    get(_target, key) {
      const original = handler[key]
      if (typeof original !== 'function') return original
      const watching = (...args: unknown[]) => {
        const span = currentSpan()
        if (!span?.recording) return original.apply(handler, args)
        const done = args.at(-1)
        askApplication(span, typeof done === 'function' ? args.slice(0, -1) : args)
        if (typeof done === 'function') args[args.length - 1] = noting(span, done)
        return observed(span, original, handler, args)
      }
      Object.defineProperty(watching, 'length', { value: original.length, configurable: true })
      return watching
    },
    set: (_target, key, value) => Reflect.set(handler, key, value),
    ownKeys: () => Reflect.ownKeys(handler),
    getOwnPropertyDescriptor(_target, key) {
      const property = Reflect.getOwnPropertyDescriptor(handler, key)
      return property && { ...property, configurable: true }
    },
  })
  proxies.add(proxy)
  processor._handler = proxy
}
