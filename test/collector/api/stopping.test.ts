import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { fastify } from 'fastify'
import { stopWithLastAnswer } from '../../../collector/src/api/stopping'
import { loadConfig } from '../../../collector/src/config'
import { ROOT } from '../../helpers/child'
import { until } from '../../helpers/until'
import { cleanUp, collector, hex, logFrame, Peer, randomId, span, undo } from '../support'

/** What a connection was answered, and whether it has been closed. */
function client(socket: Socket) {
  const state = { socket, text: '', closed: false }
  socket.on('data', chunk => {
    state.text += chunk
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    state.closed = true
  })
  cleanUp.push(() => socket.destroy())
  return state
}

const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n'
const spansOf = (traceId: string) => JSON.stringify([{ traceId, id: '000000000000000b', name: 'x' }])

function post(body: string, more = ''): string {
  return `POST /api/v2/spans HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n${more}\r\n${body}`
}

describe('a stop', () => {
  afterEach(undo)

  const pair = (name: string) => join(ROOT, 'test/fixtures/tls', name)
  const ca = readFileSync(pair('first.pem'))
  for (const tls of [undefined, { cert: pair('first.pem'), key: pair('first.key') }]) {
    it(`closes ${tls ? 'TLS ' : ''}connections on which nothing is under way at once, and the others with their answer`, async () => {
      const c = await collector({ http: { ...loadConfig(undefined, {}).config.http, port: 0, tls } })
      const plain = () => client(connect(c.httpPort, '127.0.0.1'))
      const open = () => (tls ? client(connectTls({ port: c.httpPort, host: '127.0.0.1', ca })) : plain())
      const [silent, neverShook, idle, posting, pipelining] = [open(), plain(), open(), open(), open()]
      idle.socket.write('GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n')
      await until('the keep-alive connection is answered', () => idle.text.includes('"ok"'))
      const [first, second] = [hex(randomId()), hex(randomId())]
      const requests = [first, second].map(id => post(spansOf(id), 'expect: 100-continue\r\n'))
      posting.socket.write(requests[0]!.slice(0, -5))
      pipelining.socket.write(requests[1]!.slice(0, -5))
      await until('both posts are under way', () => posting.text + pipelining.text === CONTINUE + CONTINUE)
      await until('all are connected', () => !silent.socket.connecting && !neverShook.socket.connecting)
      posting.text = pipelining.text = ''

      const stopped = c.close()
      await until('the idle ones are closed', () => silent.closed && neverShook.closed && idle.closed)
      assert.deepEqual([posting.closed, pipelining.closed], [false, false])
      posting.socket.write(requests[0]!.slice(-5))
      pipelining.socket.write(requests[1]!.slice(-5) + post(spansOf(second)))
      await until('the posts are answered', () => posting.closed && pipelining.closed)
      for (const { text } of [posting, pipelining]) {
        assert.match(text, /^HTTP\/1\.1 202 .*\r\nconnection: close\r\n/is)
        assert.equal(text.split('HTTP/1.1').length, 2)
      }
      await stopped
    })
  }

  it("answers Scribe's calls that have arrived, and closes", async () => {
    const c = await collector()
    const [silent, half, whole] = [0, 1, 2].map(() => new Peer(c.scribePorts[0]!))
    half!.send(logFrame([span()]).subarray(0, 20))
    assert.equal(await whole!.log(span()), 0)
    const answers = [whole!.log(span()), whole!.log(span())]
    await until('the calls have arrived', async () => (await c.metric('calls_total{method="Log"}')) === 3)
    await Promise.all([c.close(), silent!.closed, half!.closed, whole!.closed])
    assert.deepEqual(await Promise.all(answers), [0, 0])
    assert.deepEqual([silent!.unclaimed, half!.unclaimed], [[], []])
  })

  it('waits for an answer that has begun, and not beyond its deadline for one that never ends', async () => {
    for (const ends of [true, false]) {
      const app = fastify({ forceCloseConnections: 'idle' })
      stopWithLastAnswer(app, ends ? 60_000 : 50)
      let finish = () => {}
      app.get('/', (_request, reply) => {
        reply.hijack()
        reply.raw.writeHead(200, { 'content-length': 4 }).write('be')
        finish = () => reply.raw.end('gin')
      })
      await app.listen({ host: '127.0.0.1', port: 0 })
      const asking = client(connect((app.server.address() as { port: number }).port, '127.0.0.1'))
      asking.socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
      await until('the answer has begun', () => asking.text.endsWith('be'))
      const stopped = app.close()
      if (ends) finish()
      await stopped
      await until('the connection is closed', () => asking.closed)
      assert.equal(asking.text.endsWith('begin'), ends)
    }
  })
})
