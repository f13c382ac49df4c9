import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer } from 'node:net'
import { http as httpPlugin } from '../../plugins/http'
import { undici as undiciPlugin } from '../../plugins/undici'
import { install } from '../../src/patch/hook'
import { start, stop, type TestSpan } from '../../src/testing'
import { until } from '../helpers/until'

install([httpPlugin, undiciPlugin])
const http: typeof import('node:http') = require('node:http')
const https: typeof import('node:https') = require('node:https')
const http2: typeof import('node:http2') = require('node:http2')

describe('whom a client’s span says that it calls', () => {
  let spans: TestSpan[]
  beforeEach(() => {
    spans = start()
  })
  afterEach(() => stop())

  async function called(): Promise<(string | undefined)[]> {
    const [span] = await until('the span has ended', () => (spans.length > 0 ? spans.splice(0) : undefined))
    return [span!.annotations['server.address'], span!.annotations['server.port']]
  }

  /** Whether anybody answers doesn't matter. */
  const ways: Record<string, (url: string) => void> = {
    'HTTP/1': url => {
      const { request } = url.startsWith('https') ? https : http
      request(url, { agent: false, rejectUnauthorized: false }, res => res.resume())
        .on('error', () => {})
        .end()
    },
    'HTTP/2': url => {
      const session = http2.connect(url, { rejectUnauthorized: false }).on('error', () => {})
      const req = session.request()
      req
        .on('error', () => {})
        .on('close', () => session.destroy())
        .resume()
    },
    fetch: url =>
      void fetch(url)
        .then(res => res.body?.cancel())
        .catch(() => {}),
  }
  for (const [way, call] of Object.entries(ways)) {
    it(`has the host and the port, the protocol’s own as well: ${way}`, async () => {
      for (const [url, ...expected] of [
        ['http://127.0.0.1:2/x', '127.0.0.1', '2'],
        ['http://127.0.0.1/x', '127.0.0.1', '80'],
        ['https://127.0.0.1/x', '127.0.0.1', '443'],
        ['http://[::1]:4/x', '::1', '4'],
        ['http://[::1]/x', '::1', '80'],
      ]) {
        call(url!)
        assert.deepEqual(await called(), expected, url)
      }
    })
  }

  it('has no port that might be another’s: where HTTP/1 calls a host by another name, or a socket of the file system', async () => {
    const server = createServer(socket => socket.end('HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n'))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const own = { host: '127.0.0.1', port, agent: false as const }
    const createConnection = () => connect(port, '127.0.0.1')
    const here = ['127.0.0.1', String(port)]
    try {
      for (const [options, expected] of [
        [own, here],
        [{ ...own, headers: { Host: 'shop' } }, ['127.0.0.1', undefined]],
        [{ ...own, headers: { Host: '127.0.0.10:9' } }, ['127.0.0.1', undefined]],
        [{ ...own, setHost: false }, ['127.0.0.1', undefined]],
        [{ ...own, headers: ['Host', `127.0.0.1:${port}`] as any }, here],
        [{ ...own, headers: [['Host', `127.0.0.1:${port}`]] as any }, here],
        [{ ...own, headers: { Host: `127.0.0.1:${port}`, Expect: '100-continue' } }, here],
        [{ createConnection, socketPath: '/run/shop' }, ['localhost', undefined]],
        [{ createConnection, host: 'shop', port: 8080 }, ['shop', '8080']],
      ] as const) {
        http.get(options, res => res.resume())
        assert.deepEqual(await called(), expected, JSON.stringify(options))
      }
    } finally {
      server.close()
    }
  })
})
