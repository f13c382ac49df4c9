import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { networkInterfaces } from 'node:os'
import { listening, watchServers } from '../../../src/keep/listening'

describe('where this process takes calls', () => {
  const open: Server[] = []
  const listen = async (server: Server, host?: string): Promise<number> => {
    open.push(server)
    await once(server.listen(0, host), 'listening')
    return (server.address() as AddressInfo).port
  }
  afterEach(() => {
    for (const server of open.splice(0)) server.close()
  })

  it('is known of each server once it listens, by all addresses of the machine if it is bound to any, until it is closed', async () => {
    watchServers()
    watchServers()
    const bound = createServer()
    const one = await listen(bound, '127.0.0.1')
    const any = await listen(createHttpServer(), '0.0.0.0')
    const own = Object.values(networkInterfaces())
      .flatMap(addresses => addresses ?? [])
      .filter(({ family, internal }) => family === 'IPv4' && !internal)
      .map(({ address }) => `${address}:${any}`)
    const here = () => listening().filter(place => [one, any].some(port => place.endsWith(`:${port}`)))
    assert.deepEqual(here(), [`127.0.0.1:${one}`, `0.0.0.0:${any}`, ...own])
    bound.close()
    assert.deepEqual(here(), [`0.0.0.0:${any}`, ...own])
  })

  it('is 16 servers and 64 places at most', async () => {
    watchServers()
    for (let i = 0; i < 20; i++) await listen(createServer(), '127.0.0.1')
    assert.equal(listening().length, 16)
  })
})
