import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener, request } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { limitConnections } from '../../../collector/src/api/connections'
import { until } from '../../helpers/until'

/** Another machine's address, as far as the server is told. */
const STRANGER = '127.0.0.2'
const VIEWER = '127.0.0.1'

describe('HTTP connections', () => {
  const undo: (() => void)[] = []
  afterEach(() => {
    for (const step of undo.splice(0)) step()
  })

  async function listen(maxConnections: number, answer: RequestListener = (_, response) => response.end('ok')) {
    const closed: string[] = []
    const server = createServer({ highWaterMark: 1024 }, answer)
    limitConnections(server, {
      maxConnections,
      isTrusted: address => address === VIEWER,
      closed: reason => closed.push(reason),
      warn() {},
    })
    server.listen(0, VIEWER)
    await once(server, 'listening')
    undo.push(
      () => server.closeAllConnections(),
      () => void server.close(),
    )
    const { port } = server.address() as AddressInfo
    const open = async (localAddress: string, text = ''): Promise<Socket> => {
      const socket = connect({ port, host: VIEWER, localAddress })
      socket.on('error', () => {})
      undo.push(() => socket.destroy())
      await once(socket, 'connect')
      socket.write(text)
      return socket
    }
    const ask = async (): Promise<number | string> => {
      const asked = request({ port, host: VIEWER, agent: false }).end()
      return new Promise(resolve => {
        asked.on('response', response => resolve(response.resume().statusCode!))
        asked.on('error', (error: NodeJS.ErrnoException) => resolve(error.code!))
      })
    }
    return { closed, open, ask }
  }

  it('of which all stand in their headers let a viewer in', async () => {
    const { closed, open, ask } = await listen(4)
    for (let i = 0; i < 4; i++) await open(VIEWER, 'GET / HTTP/1.1\r\nhost: x\r\nx-a:')
    assert.equal(await ask(), 200)
    assert.deepEqual(closed, ['evicted'])
  })

  it('from one address are half of them at most, and the others may have the rest', async () => {
    const { closed, open, ask } = await listen(4)
    const strangers = [await open(STRANGER), await open(STRANGER), await open(STRANGER)]
    await until('the one that was there first is closed', () => strangers[0]!.closed || strangers[0]!.readableEnded)
    const viewers = [await open(VIEWER), await open(VIEWER)]
    assert.equal(await ask(), 200)
    assert.deepEqual(closed, ['evicted', 'evicted'])
    assert.ok(viewers.every(viewer => !viewer.destroyed))
  })

  it('are kept while what was asked on them is worked on', async () => {
    let finish: (() => void) | undefined
    const { closed, open, ask } = await listen(1, (_, response) => {
      finish = () => response.end('ok')
    })
    const asking = await open(VIEWER, 'GET / HTTP/1.1\r\nhost: x\r\n\r\n')
    await until('it is worked on', () => finish !== undefined)
    assert.equal(await ask(), 'ECONNRESET')
    assert.deepEqual(closed, ['refused'])
    finish!()
    const [answer] = await once(asking, 'data')
    assert.match(String(answer), /^HTTP\/1.1 200/)
  })

  for (const [what, text, answer] of [
    ['whose body drips', 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nx', () => {}],
    [
      'whose answer nobody takes',
      'GET / HTTP/1.1\r\nhost: x\r\n\r\n',
      (_, response) => void response.write(Buffer.alloc(32 * 1024 * 1024)),
    ],
  ] as [string, string, RequestListener][]) {
    it(`${what} give way`, async () => {
      let asked = 0
      const { closed, open, ask } = await listen(1, (...args) => {
        if (asked++ === 0) answer(...args)
        else args[1].end('ok')
      })
      const slow = await open(VIEWER, text)
      slow.pause()
      await until('it is asked', () => asked === 1)
      // Refused as long as it isn't known to be slow.
      await until('there is room', async () => (await ask()) === 200)
      assert.equal(closed.at(-1), 'evicted')
    })
  }
})
