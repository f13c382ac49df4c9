import {
  type Frame,
  frameWith,
  isActive,
  type PluginHandle,
  type RemoteContext,
  runInFrame,
  type Span,
  startServerSpan,
} from 'milo/plugin'
import { operation, serviceOf } from './names'
import { awaitReply, type IncomingRequest, now, Outcome, type PendingReply } from './protocol'

/*
 * A server calls process() for what has arrived, again and again until a request is complete. Each time it runs in a
 * frame of its own, empty until the arguments have been read: then the request's span is put in, just before the handler
 * runs. So there is one switch of context a request, and a request that arrives byte by byte leaves nothing behind.
 */

const ONEWAY = 4

interface Processor {
  process(input: unknown, output: unknown): unknown
  [method: string]: unknown
}

const wrapped = new WeakSet<object>()

export function traceProcessor(processor: any, plugin: PluginHandle): void {
  if (!plugin.enabled || wrapped.has(processor)) return
  try {
    wrapped.add(processor)
    plugin.wrap(
      processor,
      'process',
      original =>
        function (this: Processor, ...args: [unknown, unknown]) {
          if (!plugin.enabled || !isActive()) return original.apply(this, args)
          return processTraced(this, original as unknown as Processor['process'], args)
        } as any,
    )
  } catch (error) {
    plugin.fail(error)
  }
}

function processTraced(processor: Processor, process: Processor['process'], args: [unknown, unknown]): unknown {
  const request = new Request(processor, args[1])
  const outer = now.incoming
  now.incoming = request
  try {
    const result = runInFrame(request.frame, () => process.apply(processor, args))
    request.returned()
    return result
  } catch (error) {
    request.threw(error)
    throw error
  } finally {
    now.incoming = outer
  }
}

class Request implements IncomingRequest, PendingReply {
  readonly frame: Frame = frameWith(undefined)
  begun = false
  remote: RemoteContext | undefined = undefined
  hasField = false
  name = ''
  seqid = 0
  private type = 0
  private service: string | undefined = undefined
  private readonly processor: Processor
  private readonly output: unknown

  constructor(processor: Processor, output: unknown) {
    this.processor = processor
    this.output = output
  }

  get span(): Span {
    return this.frame.span!
  }

  begin(name: string, type: number, seqid: number): void {
    this.begun = true
    this.type = type
    this.seqid = seqid
    const colon = name.indexOf(':')
    if (colon !== -1 && this.processor.services !== undefined) {
      // Multiplexed: the service's registered name goes before the method's.
      this.service = name.slice(0, colon)
      this.name = name.slice(colon + 1)
    } else {
      this.name = name
      this.service = serviceOf(this.processor[`process_${name}`], name) ?? anyService(this.processor)
    }
  }

  argumentsRead(): void {
    this.frame.span = startServerSpan(operation(this.service, this.name).slice(0, 256), this.remote)
    if (this.span.sampled && this.type !== ONEWAY) awaitReply(this.output, this)
  }

  replied(outcome: Outcome): void {
    if (outcome === Outcome.APPLICATION) this.span.annotate('error.type', 'TApplicationException')
    else if (outcome === Outcome.DECLARED)
      this.span.annotate('error.type', declaredException(this.processor, this.name))
    this.span.end()
  }

  /** process() has returned: a oneway request is over, as far as thrift is concerned. */
  returned(): void {
    if (this.type === ONEWAY) this.frame.span?.end()
  }

  /** Before the arguments were complete it is thrift's way to wait for the rest; after, thrift closes the connection. */
  threw(error: unknown): void {
    this.frame.span?.fail(error).end()
  }
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

/** The exception's type, where the method declares one only: generated code names it where it looks for it. */
function declaredException(processor: Processor, method: string): string {
  const source = String(processor[`process_${method}`] ?? '')
  const types = new Set([...source.matchAll(/err(?:or)? instanceof (?:\w+\.)?(\w+)/g)].map(match => match[1]!))
  return types.size === 1 ? [...types][0]! : 'declared exception'
}
