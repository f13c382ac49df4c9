import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { init, shutdown } from '../../src/index'
import { client, closeAll, onClose, serve, traced, type Wire } from '../helpers/thrift'
import { until } from '../helpers/until'

/** Traces that aren't sampled, but recorded into histories: what of them travels. */

const BINARY: Wire = { transport: 'TFramedTransport', protocol: 'TBinaryProtocol' }

const i32 = (n: number) => n.toString(16).padStart(8, '0')
const text = (value: string) => i32(Buffer.byteLength(value)) + Buffer.from(value).toString('hex')

const IDS = '1122334455667788' + '0102030405060708' + '000000000000002a'
/** Milo's field with these flags, in the binary protocol. */
const field = (flags: string, more = '') => `0f1938 03 ${i32(29 + more.length / 2)} ${flags} ${IDS} 00000000 ${more}`

/** Calls ping as a peer that isn't this process does, with these fields behind its argument. */
async function ping(port: number, fields: string): Promise<string> {
  const call = Buffer.from(
    `80010001 ${text('ping')} 00000001 0b 0001 ${text('x')} ${fields} 00`.replace(/ /g, ''),
    'hex',
  )
  const socket = connect(port, '127.0.0.1')
  socket.write(Buffer.concat([Buffer.from(i32(call.length), 'hex'), call]))
  const [reply] = await once(socket, 'data')
  socket.destroy()
  return reply.toString('latin1')
}

/** A server that takes calls and answers none. */
async function deaf(): Promise<{ port: number; hex(): string }> {
  let bytes = Buffer.alloc(0)
  const server = createServer(socket => {
    socket.on('data', data => {
      bytes = Buffer.concat([bytes, data])
    })
    socket.on('error', () => {})
    onClose(() => socket.destroy())
  }).listen(0, '127.0.0.1')
  onClose(() => server.close())
  await once(server, 'listening')
  return { port: (server.address() as AddressInfo).port, hex: () => bytes.toString('hex') }
}

/** What a handler that is called with these fields sends on in a call of its own. */
async function passedOn(fields: string): Promise<string> {
  const next = await deaf()
  const onward = client(traced, traced.Calculator, next.port, BINARY)
  const { port } = await serve(
    traced,
    traced.Calculator,
    {
      async ping(_name: string) {
        onward.ping('y').catch(() => {})
        return 'done'
      },
    },
    BINARY,
  )
  assert.match(await ping(port, fields), /done/)
  await until('the call has come', () => next.hex().endsWith('00') && next.hex().length > 0)
  return next.hex()
}

describe('a recorded trace, in a process without a history', () => {
  afterEach(async () => {
    closeAll()
    await shutdown(0)
  })

  it('goes on with its ids and its flag, as what a caller without a history sends doesn’t', async () => {
    init({ scribe: '127.0.0.1:1', sampler: 'always', logLevel: 'silent' })
    const onward = (fields: string) => passedOn(fields).then(hex => hex.slice(hex.indexOf('0f193803')))
    assert.equal(await onward(field('08')), `0f193803${i32(29)}08${IDS}0000000000`)
    assert.equal(await onward(field('0c', '7700000000000077')), `0f193803${i32(37)}0c${IDS}00000000770000000000007700`)
    // Not recorded anywhere: the decision alone.
    assert.equal(await onward(field('00')), `0f193803${i32(1)}0000`)
  })

  it('goes on as traceparent 00 with its ids where that is the carrier', async () => {
    init({ scribe: '127.0.0.1:1', sampler: 'always', logLevel: 'silent', propagation: 'compat' })
    const sent = Buffer.from(await passedOn(field('08')), 'hex').toString('latin1')
    assert.match(sent, /traceparent.*00-00000000000000001122334455667788-0102030405060708-00/s)
  })

  it('isn’t told over CALLTRACE, which has no room for it', async () => {
    init({ scribe: '127.0.0.1:1', sampler: 'always', logLevel: 'silent', propagation: 'calltrace' })
    assert.doesNotMatch(await passedOn(field('08')), /1122334455667788|80010005/)
  })
})
