import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort, isListening, RunningServer, serverFolder } from './process'

/** A server that takes no installing. */
function program(port: number) {
  const script = `require('net').createServer().listen(${port}, '127.0.0.1', () => console.log('ready'))`
  return {
    name: 'a server',
    folder: serverFolder('any'),
    command: [process.execPath, '-e', script],
    ports: [port],
    ready: /ready/,
    startMs: 30_000,
  }
}

describe('servers of tests', () => {
  it('start again on the same port after they were stopped or killed, and are gone with their folder at the end', async () => {
    const port = await freePort()
    const definition = program(port!)
    const server = new RunningServer(definition)
    await server.start()
    for (const end of ['stop', 'kill'] as const) {
      await server[end]()
      assert.equal(await isListening(port!), false)
      await server.start()
      assert.equal(await isListening(port!), true)
    }
    await server.remove()
    assert.equal(await isListening(port!), false)
    assert.equal(existsSync(definition.folder), false)
  })

  it('refuse a port that another process has', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as { port: number }
    const server = new RunningServer(program(port))
    await assert.rejects(server.start(), { message: `a server: port ${port} is taken by another process` })
    await server.remove()
    other.close()
  })

  it('say with their own words why they did not start', async () => {
    const port = await freePort()
    const server = new RunningServer({
      ...program(port!),
      command: [process.execPath, '-e', 'throw new Error("no room")'],
    })
    await assert.rejects(server.start(), /a server didn't start:[\s\S]*no room/)
    await server.remove()
  })

  for (const end of ['SIGKILL', 'SIGINT', 'stop'] as const) {
    it(`are gone with their folder when the test process ends: ${end}`, async () => {
      const port = await freePort()
      const definition = program(port!)
      const script = `
        const { RunningServer } = require(${JSON.stringify(join(__dirname, 'process'))})
        const definition = ${JSON.stringify({ ...definition, ready: '' })}
        const server = new RunningServer({ ...definition, ready: /ready/ })
        process.stdin.once('data', () => server.stop().then(() => process.stdin.destroy()))
        server.start().then(() => console.log('started'))`
      const tests = spawn(process.execPath, ['--require', 'tsx/cjs', '-e', script], {
        stdio: ['pipe', 'pipe', 'ignore'],
      })
      await once(tests.stdout, 'data')
      assert.equal(await isListening(port!), true)
      if (end === 'stop') tests.stdin.write('stop')
      else tests.kill(end)
      await once(tests, 'exit')
      const endMs = Date.now() + 30_000
      while (((await isListening(port!)) || existsSync(definition.folder)) && Date.now() < endMs) await sleep(20)
      assert.equal(await isListening(port!), false)
      assert.equal(existsSync(definition.folder), false)
    })
  }
})
