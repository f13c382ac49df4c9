import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { networkInterfaces } from 'node:os'
import { promisify } from 'node:util'
import { listening, watchServers } from '../../../src/keep/listening'

describe('where this process takes calls', () => {
  const open: Server[] = []
  const listen = async (server: Server, host?: string): Promise<number> => {
    open.push(server)
    await once(server.listen(0, host), 'listening')
    return (server.address() as AddressInfo).port
  }
  const closeAll = () => {
    for (const server of open.splice(0)) server.close()
  }
  afterEach(closeAll)

  it('is known of each server once it listens, by all addresses of the machine if it is bound to any', async () => {
    watchServers()
    watchServers()
    const one = await listen(createServer(), '127.0.0.1')
    const any = await listen(createHttpServer(), '0.0.0.0')
    const own = Object.values(networkInterfaces())
      .flatMap(addresses => addresses ?? [])
      .filter(({ family, internal }) => family === 'IPv4' && !internal)
      .map(({ address }) => `${address}:${any}`)
    const here = () => listening().filter(place => [one, any].some(port => place.endsWith(`:${port}`)))
    assert.deepEqual(here(), [`127.0.0.1:${one}`, `0.0.0.0:${any}`, ...own])
    closeAll()
    assert.equal(here().length, 2 + own.length, 'those who have called it are asked for later')
  })

  it('is said by the first connection of a server that listened before, or where Node doesn’t say that one listens', async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [
      ...['-r', 'tsx/cjs', '-e'],
      `const { createServer, connect } = require('node:net')
       const { listening, watchServers } = require('./src/keep/listening.ts')
       const server = createServer().listen(0, '127.0.0.1', () => {
         watchServers()
         const { port } = server.address()
         const before = listening().length
         server.on('connection', () => setImmediate(() => {
           console.log(before, listening().join() === '127.0.0.1:' + port)
           process.exit()
         }))
         connect(port, '127.0.0.1')
       })`,
    ])
    assert.equal(stdout, '0 true\n')
  })

  it('is 16 servers at most: the first ones that are open, and the last that were', async () => {
    watchServers()
    const ports: number[] = []
    for (let i = 0; i < 20; i++) ports.push(await listen(createServer(), '127.0.0.1'))
    const has = (port: number) => listening().includes(`127.0.0.1:${port}`)
    assert.equal(listening().length, 16)
    assert.ok(has(ports[0]!) && !has(ports[19]!))
    closeAll()
    const later = await listen(createServer(), '127.0.0.1')
    assert.equal(listening().length, 16)
    assert.ok(has(later) && !has(ports[0]!))
  })
})
