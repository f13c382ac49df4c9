import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { flush, init, shutdown, span, stats } from '../../../src'
import { clock } from '../../../src/process/genuine'
import { runNode } from '../../helpers/child'
import { type Reaction, ScribePeer } from '../../helpers/scribe-peer'
import { until } from '../../helpers/until'
import { freePort } from '../../servers/process'

function addsUp(): void {
  const { ended, sent, buffered, inFlight, spooled, dropped, drops } = stats()
  assert.equal(ended, sent + buffered + inFlight + spooled + dropped)
  assert.equal(
    dropped,
    Object.values(drops).reduce((a, b) => a + b, 0),
  )
}

function work(spans: number): void {
  for (let i = 0; i < spans; i++) span(`work ${i}`, () => {})
}

describe('the Scribe emitter', () => {
  let peer: ScribePeer

  beforeEach(async () => {
    peer = await ScribePeer.listen()
  })

  afterEach(async () => {
    await shutdown(0)
    await peer.close()
  })

  const start = (more: object = {}) => init({ sampler: 'always', scribe: peer.address, logLevel: 'silent', ...more })

  it('sends a waiting span by itself, in the category Milo-Trace', async () => {
    start()
    work(3)
    await until('the spans have come', () => peer.spans.length === 3)
    assert.deepEqual(peer.categories, ['Milo-Trace'])
    await until('they are counted as sent', () => stats().sent === 3)
    addsUp()
  })

  it('sends a full batch at once and the rest in further calls, each span once, in order', async () => {
    start()
    work(1700)
    addsUp()
    assert.equal(await flush(20_000), true)
    assert.deepEqual(
      peer.spans.map(s => s.name),
      Array.from({ length: 1700 }, (_, i) => `work ${i}`),
    )
    assert.ok(Math.max(...peer.calls) <= 500)
    assert.equal(peer.connections, 1)
    addsUp()
  })

  it('bounds a batch in bytes as well', async () => {
    start()
    for (let i = 0; i < 400; i++) span('big', s => s.annotate('v', 'x'.repeat(4000)))
    assert.equal(await flush(20_000), true)
    assert.equal(peer.spans.length, 400)
    assert.ok(peer.calls.length >= 3, `${peer.calls}`)
  })

  it('keeps the batch and sends it again when Scribe says TRY_LATER', async () => {
    start()
    peer.react = call => ({ reply: call <= 2 ? 1 : 0 })
    work(5)
    await until('the spans have come', () => peer.spans.length === 5)
    assert.deepEqual(peer.calls, [5, 5, 5])
    assert.equal(stats().tryLater, 2)
    await until('they are counted as sent', () => stats().sent === 5)
    addsUp()
  })

  it('says how many spans wait when it fails: those of the batch on its way are among them', async () => {
    const { now } = clock
    const { write } = process.stderr
    const said: string[] = []
    try {
      // Nobody has said anything lately.
      clock.now = () => now() + 1e9
      process.stderr.write = ((line: string) => line.includes('Scribe') && said.push(line)) as never
      peer.react = call => (call === 1 ? 'close' : { reply: 0 })
      start({ logLevel: 'warn' })
      work(5)
      assert.equal(await flush(20_000), true)
    } finally {
      clock.now = now
      process.stderr.write = write
    }
    assert.equal(said.length, 1)
    assert.match(said[0]!, /^milo warn: Scribe at 127\.0\.0\.1:\d+: .*; spans that wait: 5\n$/)
  })

  for (const reaction of [
    'close',
    'reset',
    'garbage',
    'huge length',
    'exception',
    'two replies',
    'another call’s reply',
  ] as Reaction[]) {
    it(`sends again after ${reaction}`, async () => {
      start()
      peer.react = call => (call === 1 ? reaction : { reply: 0 })
      work(2)
      await until('the spans have come', () => peer.spans.length === 2)
      await until('they are counted as sent', () => stats().sent === 2)
      addsUp()
    })
  }

  for (const reaction of [{ reply: 0, strict: false }, 'byte by byte'] as Reaction[]) {
    it(`understands a reply that is ${typeof reaction === 'string' ? reaction : 'not strict'}`, async () => {
      start()
      peer.react = () => reaction
      work(2)
      assert.equal(await flush(20_000), true)
      assert.equal(stats().sent, 2)
    })
  }

  it('drops a batch that Scribe refuses again and again, and goes on with the next', async () => {
    start()
    peer.react = call => (call <= 5 ? 'exception' : { reply: 0 })
    work(2)
    await until('the batch is given up', () => stats().drops.refused === 2)
    work(1)
    await until('the next has come', () => peer.spans.length === 1)
    addsUp()
  })

  it('reconnects by itself when Scribe comes back', async () => {
    start()
    const { port } = peer
    await peer.close()
    work(4)
    await until('it has failed', () => stats().failures >= 2)
    addsUp()
    peer = await ScribePeer.listen(port)
    await until('the spans have come', () => peer.spans.length === 4)
  })

  it('goes to the next address when one doesn’t answer', async () => {
    start({ scribe: `127.0.0.1:${await freePort()},${peer.address}` })
    work(2)
    assert.equal(await flush(20_000), true)
    assert.equal(peer.spans.length, 2)
  })

  it('drops newer spans, and counts them, when the buffer is full', async () => {
    peer.react = () => 'silence'
    start({ maxBufferedSpans: 100 })
    work(250)
    addsUp()
    assert.equal(stats().drops.buffer_full, 150)
    peer.react = () => ({ reply: 0 })
  })

  it('gives up a flush at its deadline when Scribe hangs, and loses nothing by it', async () => {
    peer.react = () => 'silence'
    start()
    work(2)
    assert.equal(await flush(50), false)
    assert.equal(stats().inFlight, 2)
    addsUp()
  })

  it('answers true at once when there is nothing to flush', async () => {
    start()
    assert.equal(await flush(0), true)
  })
})

describe('the end of a process', () => {
  const program = (body: string) => ['-r', './dist/register.js', '-e', `const milo = require('milo'); ${body}`]

  it('flushes what is still there when the loop has run empty', async () => {
    const peer = await ScribePeer.listen()
    const run = await runNode(program(`milo.span('last', () => {})`), { MILO_SCRIBE: peer.address })
    assert.deepEqual([run.status, run.stderr], [0, ''])
    assert.deepEqual(
      peer.spans.map(s => s.name),
      ['last'],
    )
    await peer.close()
  })

  it('does not hang when Scribe is not there, and says what was lost on standard error alone', async () => {
    const run = await runNode(program(`milo.span('last', () => {})`), { MILO_SCRIBE: '127.0.0.1:1' })
    assert.equal(run.status, 0)
    assert.equal(run.stdout, '')
    assert.match(run.stderr, /1 span could not be sent/)
  })

  it('does not hang when Scribe accepts and never answers', async () => {
    const silent = createServer(() => {}).listen(0, '127.0.0.1')
    await until('it listens', () => silent.listening)
    const { port } = silent.address() as { port: number }
    const run = await runNode(program(`milo.span('last', () => {})`), { MILO_SCRIBE: `127.0.0.1:${port}` })
    assert.equal(run.status, 0)
    silent.close()
  })

  it('leaves an exit code, and an application’s own beforeExit, as they are', async () => {
    const peer = await ScribePeer.listen()
    const body = `process.exitCode = 3; let n = 0; process.on('beforeExit', () => { if (n++ === 0) setTimeout(() => milo.span('after', () => {}), 1) }); milo.span('first', () => {})`
    const run = await runNode(program(body), { MILO_SCRIBE: peer.address })
    assert.equal(run.status, 3)
    assert.deepEqual(peer.spans.map(s => s.name).sort(), ['after', 'first'])
    await peer.close()
  })

  it('runs the application untraced, and says why, when the environment can’t be used', async () => {
    const run = await runNode(program(`console.log(milo.span('x', s => s.sampled))`), { MILO_SAMPLER: 'sometimes' })
    assert.equal(run.status, 0)
    assert.equal(run.stdout, 'false\n')
    assert.match(run.stderr, /MILO_BAD_SAMPLER: .*'sometimes'.*runs untraced/)
  })
})
