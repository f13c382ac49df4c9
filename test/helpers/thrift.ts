import { once } from 'node:events'
import { join, sep } from 'node:path'
import { thrift as thriftPlugin } from '../../plugins/thrift'
import { install } from '../../src/patch/hook'
import { freePort } from '../servers/process'

/** A copy of npm thrift and the code generated for it, loaded afresh. */
export interface ThriftCopy {
  thrift: any
  /** js:node,es6: promises or callbacks. */
  Calculator: any
  types: any
  /** js:node: callbacks (its promises need Q, which thrift 0.24 no longer has). */
  CalculatorJs: any
  typesJs: any
}

const GEN = join(__dirname, '../gen')

function load(): ThriftCopy {
  for (const file of Object.keys(require.cache)) {
    if (file.includes(`${sep}node_modules${sep}thrift${sep}`) || file.startsWith(GEN)) delete require.cache[file]
  }
  const thrift = require('thrift')
  // It warns of a sequence id that is set twice when a compact output serves several requests, with and without Milo.
  thrift.setLogFunc(() => {})
  return {
    thrift,
    Calculator: require('../gen/es6/Calculator'),
    types: require('../gen/es6/calculator_types'),
    CalculatorJs: require('../gen/js/Calculator'),
    typesJs: require('../gen/js/calculator_types'),
  }
}

/** As npm has it: the oracle. */
export const plain: ThriftCopy = load()
install([thriftPlugin])
/** With the plugin. */
export const traced: ThriftCopy = load()

export const TRANSPORTS = ['TBufferedTransport', 'TFramedTransport'] as const
export const PROTOCOLS = ['TBinaryProtocol', 'TCompactProtocol'] as const

export interface Wire {
  transport: (typeof TRANSPORTS)[number]
  protocol: (typeof PROTOCOLS)[number] | 'TJSONProtocol'
}

export const WIRES: Wire[] = TRANSPORTS.flatMap(transport => PROTOCOLS.map(protocol => ({ transport, protocol })))

export const wireName = ({ transport, protocol }: Wire): string =>
  `${transport.slice(1, -9).toLowerCase()} ${protocol.slice(1, -8).toLowerCase()}`

function options(copy: ThriftCopy, wire: Wire) {
  return { transport: copy.thrift[wire.transport], protocol: copy.thrift[wire.protocol] }
}

/** What a test has opened, to be closed at its end. */
const open: (() => unknown)[] = []

export function onClose(close: () => unknown): void {
  open.push(close)
}

export function closeAll(): void {
  for (const close of open.splice(0)) close()
}

export async function serve(
  copy: ThriftCopy,
  service: any,
  handler: object,
  wire: Wire,
): Promise<{ port: number; server: any }> {
  return listen(copy.thrift.createServer(service, handler, options(copy, wire)))
}

export async function listen(server: any): Promise<{ port: number; server: any }> {
  const sockets = new Set<any>()
  server.on('connection', (socket: any) => sockets.add(socket))
  server.listen(await freePort(), '127.0.0.1')
  await once(server, 'listening')
  open.push(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return { port: server.address().port, server }
}

export function connect(copy: ThriftCopy, port: number, wire: Wire): any {
  const connection = copy.thrift.createConnection('127.0.0.1', port, options(copy, wire))
  open.push(() => connection.destroy())
  return connection
}

export function client(copy: ThriftCopy, service: any, port: number, wire: Wire): any {
  return copy.thrift.createClient(service, connect(copy, port, wire))
}
