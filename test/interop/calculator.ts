import assert from 'node:assert/strict'
import { connect, createServer } from 'node:net'
import { FIELD_ID } from '../../plugins/thrift/carriers/field'
import { EventType, type SpanRecord } from '../../src/codec/span'
import { flush, init, span } from '../../src/index'
import type { ScribePeer } from '../helpers/scribe-peer'
import {
  client,
  closeAll,
  listen,
  plain,
  serve,
  type ThriftCopy,
  TRANSPORTS,
  traced,
  type Wire,
  wireName,
} from '../helpers/thrift'

/**
 * What the tests with peers in other languages have in common: the same calls of Calculator, in the same order, with the
 * same results, whoever makes and whoever answers them.
 */

/** Every combination that all of Thrift's languages have. */
export const WIRES: Wire[] = TRANSPORTS.flatMap(transport =>
  (['TBinaryProtocol', 'TCompactProtocol', 'TJSONProtocol'] as const).map(protocol => ({ transport, protocol })),
)

/** What a program in another language calls it. */
export const wireArguments = (wire: Wire): [transport: string, protocol: string] =>
  wireName(wire).split(' ') as [string, string]

/** Name of the operation, result, and what must come back. The exceptions are those of `outcome`. */
const CALLS: [name: string, result: string, reply: unknown, call: (client: any, types: any) => unknown][] = [
  ['Base.ping', 'ok', 'hello Zoë 世界 🙂', c => c.ping('Zoë 世界 🙂')],
  ['Base.ping', 'ok', 'hello ', c => c.ping('')],
  ['Base.ping', 'ok', `hello ${'x'.repeat(5000)}`, c => c.ping('x'.repeat(5000))],
  ['Calculator.add', 'ok', 42, c => c.add(-1, 43)],
  ['Calculator.divide', 'ok', 3, c => c.divide(9, 3)],
  ['Calculator.divide', 'exception', { oops: 'zero', code: 7 }, c => c.divide(1, 0)],
  ['Calculator.touch', 'ok', null, c => c.touch()],
  ['Calculator.fire', 'ok', null, c => c.fire('shot')],
  [
    'Calculator.move',
    'ok',
    { x: 42, label: 'é' },
    (c, types) => c.move(new types.Point({ x: 1, label: 'é' }), [41, 2]),
  ],
  ['Base.ping', 'ok', 'shot', c => c.ping('fired')],
  ['Base.ping', 'application_exception', 'application exception', c => c.ping('nobody')],
  ['Calculator.add', 'ok', 2, c => c.add(1, 1)],
]

const NUMBER_OF_CALLS = CALLS.length
const REPLIES = CALLS.map(([, , reply]) => reply)

/** Makes all calls over one connection, each after the reply to the one before; what came of each, as in REPLIES. */
async function callEverything(client: any, types: any): Promise<unknown[]> {
  const replies = []
  for (const [, , , call] of CALLS) replies.push(await outcome(() => call(client, types), types))
  return replies
}

async function outcome(call: () => unknown, types: any): Promise<unknown> {
  try {
    const reply = (await call()) as any
    return reply instanceof types.Point ? { x: reply.x, label: reply.label } : (reply ?? null)
  } catch (error: any) {
    if (error instanceof types.Oops) return { oops: error.why, code: error.code }
    if (error.name === 'TApplicationException') return 'application exception'
    throw error
  }
}

/** Calculator as all servers of these tests implement it. */
function calculator({ types }: ThriftCopy): Record<string, Method> {
  let fired: string[] = []
  return {
    ping(name: string) {
      if (name === 'nobody') throw new Error('nobody is there')
      if (name !== 'fired') return `hello ${name}`
      const all = fired.join(' ')
      fired = []
      return all
    },
    add: (a: number, b: number) => a + b,
    divide(a: number, b: number) {
      if (b === 0) throw new types.Oops({ why: 'zero', code: 7 })
      return a / b
    },
    touch: () => {},
    fire(what: string) {
      fired.push(what)
    },
    move: (origin: any, by: number[]) => new types.Point({ x: origin.x + by[0]!, label: origin.label }),
  }
}

/**
 * As Node servers have it, in both styles. Replies leave in the order of their requests: clients in other languages count
 * on that, and a rejected promise takes thrift longer than a fulfilled one.
 */
const HANDLERS = {
  promises: (copy: ThriftCopy) => {
    let turn: Promise<void> = Promise.resolve()
    return styled(copy, 0, method => async (...args) => {
      turn = turn.then(() => new Promise(resolve => setImmediate(resolve)))
      await turn
      return method(...args)
    })
  },
  callbacks: (copy: ThriftCopy) =>
    styled(copy, 1, method => (...args) => {
      const done = args[method.length] as ((error: unknown, result?: unknown) => void) | undefined
      let result: unknown
      try {
        result = method(...args)
      } catch (error) {
        return done?.(error)
      }
      done?.(null, result)
    }),
}

type Method = (...args: any[]) => unknown

/** Thrift tells callbacks from promises by the number of parameters, and a oneway method has no callback. */
function styled(copy: ThriftCopy, callback: number, make: (method: Method) => Method): object {
  return Object.fromEntries(
    Object.entries(calculator(copy)).map(([name, method]) => {
      const length = method.length + (name === 'fire' ? 0 : callback)
      return [name, Object.defineProperty(make(method), 'length', { value: length })]
    }),
  )
}

const isClient = (s: SpanRecord) => s.events!.some(e => e.eventType === EventType.CLIENT_SEND)
const isServer = (s: SpanRecord) => s.events!.some(e => e.eventType === EventType.SERVER_RECV)

/** The halves of the calls, in their order, and nothing else; from a server that ends them in another order, sorted. */
function assertHalves(halves: SpanRecord[]): void {
  assert.deepEqual(
    halves.map(s => [s.name, s.annotations!.get('thrift.result')]).sort(),
    CALLS.map(([name, result]) => [name, result]).sort(),
  )
  for (const s of halves) {
    const { annotations } = s
    const result = annotations!.get('thrift.result')
    const errorType = annotations!.get('error.type')
    assert.equal(
      errorType,
      result === 'exception' ? 'Oops' : result === 'application_exception' ? 'TApplicationException' : undefined,
    )
    assert.equal(annotations!.get('thrift.oneway'), s.name === 'Calculator.fire' ? 'true' : undefined)
    const [begin, end] = s.events!.map(e => e.timestamp!)
    assert.ok(begin! <= end!)
  }
}

/** One client half for each call, a child of `root`, and nothing else. */
function assertClientHalves(halves: SpanRecord[], root: SpanRecord, port: number): void {
  assertHalves(halves)
  for (const s of halves) {
    assert.ok(isClient(s) && !isServer(s), s.name)
    assert.equal(s.parentId, root.id)
    assert.equal(s.traceId, root.traceId)
    assert.equal(s.annotations!.get('server.port'), String(port))
  }
  assert.equal(new Set(halves.map(s => s.id)).size, halves.length)
}

/** One server half for each call, each the root of a trace of its own. */
function assertServerHalves(halves: SpanRecord[]): void {
  assertHalves(halves)
  for (const s of halves) {
    assert.ok(isServer(s) && !isClient(s), s.name)
    assert.equal(s.parentId, 0n)
    assert.equal(s.annotations!.get('network.peer.address'), '127.0.0.1')
  }
  assert.equal(new Set(halves.map(s => s.traceId)).size, halves.length)
}

/** How a call's context travels: the SDK's options, and what they add to its bytes. */
export const PROPAGATIONS = [
  { title: 'with Milo’s field', options: { propagation: 'field' }, extra: { binary: 37, compact: 34 }, id: FIELD_ID },
  { title: 'unsampled', options: { sampler: 'never' }, extra: { binary: 9, compact: 5 }, id: FIELD_ID },
  { title: 'with compat', options: { propagation: 'compat' }, extra: { binary: 83, compact: 74 }, id: 8888 },
  { title: 'with propagation off', options: { propagation: 'off' }, extra: { binary: 0, compact: 0 }, id: undefined },
] as const

/** That what `traced` sent is what `plain` did, and the carrier once a call. */
function assertCarrier(plain: Buffer, traced: Buffer, wire: Wire, { extra, id }: (typeof PROPAGATIONS)[number]): void {
  const protocol = wireArguments(wire)[1]
  if (id === undefined) assert.deepEqual(traced, plain)
  else if (protocol === 'json') {
    assert.equal(traced.toString('latin1').split(`"${id}":{`).length - 1, NUMBER_OF_CALLS)
  } else {
    assert.equal(traced.length - plain.length, NUMBER_OF_CALLS * extra[protocol as 'binary' | 'compact'])
  }
}

/** A relay to `port` that keeps what its clients send. The tests' own closeAll ends it. */
async function relayTo(port: number): Promise<{ port: number; sent(): Buffer }> {
  const chunks: Buffer[] = []
  const relay = await listen(
    createServer(client => {
      const upstream = connect(port, '127.0.0.1')
      client.on('data', data => chunks.push(data))
      client.pipe(upstream).pipe(client)
      client.on('error', () => upstream.destroy())
      client.on('close', () => upstream.destroy())
      upstream.on('error', () => client.destroy())
    }),
  )
  return { port: relay.port, sent: () => Buffer.concat(chunks) }
}

export const STYLES = Object.keys(HANDLERS) as (keyof typeof HANDLERS)[]

export const start = (scribe: ScribePeer, options: object = {}) =>
  init({ scribe: scribe.address, service: 'test', host: 'here', sampler: 'always', logLevel: 'warn', ...options })

/** Calls a server that knows nothing of Milo, first without Milo and then with it: the same replies, and only the carrier more. */
export async function checkClient(
  scribe: ScribePeer,
  port: number,
  wire: Wire,
  propagation: (typeof PROPAGATIONS)[number],
): Promise<void> {
  const unaware = await relayTo(port)
  assert.deepEqual(await callEverything(client(plain, plain.Calculator, unaware.port, wire), plain.types), REPLIES)
  // Some servers serve one connection after the other.
  closeAll()
  start(scribe, propagation.options)
  const relay = await relayTo(port)
  const c = client(traced, traced.Calculator, relay.port, wire)
  assert.deepEqual(await span('root', () => callEverything(c, traced.types)), REPLIES)
  assertCarrier(unaware.sent(), relay.sent(), wire, propagation)
  assert.equal(await flush(20_000), true)
  if (propagation.title === 'unsampled') return assert.deepEqual(scribe.spans, [])
  const root = scribe.spans.find(s => s.name === 'root')!
  assertClientHalves(
    scribe.spans.filter(s => s !== root),
    root,
    relay.port,
  )
}

/** Has a traced server called by a client that knows nothing of Milo, which prints what came of its calls. */
export async function checkServer(
  scribe: ScribePeer,
  wire: Wire,
  style: keyof typeof HANDLERS,
  call: (port: string) => Promise<string>,
): Promise<void> {
  start(scribe)
  const { port } = await serve(traced, traced.Calculator, HANDLERS[style](traced), wire)
  assert.deepEqual(JSON.parse(await call(String(port))), REPLIES)
  assert.equal(await flush(20_000), true)
  assertServerHalves(scribe.spans)
}

/** What a program printed of its servers: their ports, by what it calls them. */
export function portsOf(printed: string): Map<string, number> {
  return new Map(printed.match(/.+ \d+/g)!.map(line => [line.replace(/ \d+$/, ''), Number(/\d+$/.exec(line)![0])]))
}
