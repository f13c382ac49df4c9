import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { init, shutdown, span, stats } from '../../../src'
import { Reader } from '../../../src/codec/binary'
import { ResultCode, readLogArgs } from '../../../src/codec/scribe'
import { SpanBuffer } from '../../../src/export/buffer'
import { ROOT } from '../../helpers/child'
import { type Bench, bench, endedSpan } from '../../helpers/emitter'
import { recordsIn } from '../../helpers/records'
import { type Reaction, replyTo, ScribePeer } from '../../helpers/scribe-peer'
import { until } from '../../helpers/until'

const pem = (name: string) => readFileSync(join(ROOT, 'test/fixtures/tls', name))

describe('the emitter’s buffer', () => {
  it('is bounded in bytes: a few large spans fill it as many small ones do', () => {
    const large = new SpanBuffer(10_000, 64 * 1024)
    const small = new SpanBuffer(10_000, 64 * 1024)
    for (let i = 0; i < 1000; i++) {
      large.add(endedSpan('large', 'x'.repeat(4000)))
      small.add(endedSpan('small'))
    }
    assert.equal(large.length, 7)
    assert.ok(small.length > 100 && small.length < 165, `${small.length}`)
    assert.equal(large.counts().drops.buffer_full, 993)
    assert.equal(large.fullness > 0.85, true)
    assert.ok(large.bytes <= 64 * 1024)
  })

  it('gives back what each span took, also when its name was changed after its end', () => {
    const buffer = new SpanBuffer(10_000, 1024 * 1024)
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 1500; i++) {
        const ended = endedSpan('a')
        buffer.add(ended)
        ended.name = 'another name'
      }
      const names = []
      for (let taken = buffer.take(); taken !== undefined; taken = buffer.take()) names.push(taken.name)
      assert.equal(names.length, 1500)
      assert.deepEqual([buffer.length, buffer.bytes], [0, 0])
    }
  })

  it('keeps the order of spans over any sequence of adding and taking', () => {
    const buffer = new SpanBuffer(100_000)
    let added = 0
    let taken = 0
    for (let round = 0; round < 200; round++) {
      for (let i = 0; i < (round * 7919) % 101; i++) buffer.add(endedSpan(String(added++)))
      for (let i = 0; i < (round * 104729) % 89; i++) {
        const oldest = buffer.take()
        if (oldest !== undefined) assert.equal(oldest.name, String(taken++))
      }
      assert.equal(buffer.length, added - taken)
    }
  })
})

describe('the emitter', () => {
  let peer: ScribePeer
  let other: ScribePeer
  let running: Bench | undefined

  beforeEach(async () => {
    peer = await ScribePeer.listen()
    other = await ScribePeer.listen()
  })

  afterEach(async () => {
    running?.emitter.close()
    running?.addsUp()
    running = undefined
    await shutdown(0)
    await Promise.all([peer.close(), other.close()])
  })

  it('encodes one batch in a turn of the loop, however much waits', async () => {
    const encoded: number[] = []
    let turn = 0
    const buffer = new SpanBuffer(100_000)
    running = bench(peer.address, {}, undefined, buffer)
    const take = buffer.take.bind(buffer)
    buffer.take = () => {
      encoded[turn] = (encoded[turn] ?? 0) + 1
      return take()
    }
    let again = setImmediate(function next() {
      turn++
      again = setImmediate(next)
    })
    running.work(6000)
    assert.equal(encoded.length, 0)
    assert.equal(await running.emitter.flush(10_000), true)
    clearImmediate(again)
    assert.equal(peer.spans.length, 6000)
    assert.ok(Math.max(...encoded.filter(n => n > 0)) <= 501, `${encoded.filter(n => n > 0)}`)
  })

  it('leaves batches as they are that a peer acknowledges before it has read them', async () => {
    const BATCHES = 60
    let socket: Socket | undefined
    const hasty = createServer(accepted => {
      // It reads nothing yet: what it isn't sent fills the connection.
      socket = accepted.pause()
    })
    await new Promise<void>(resolve => hasty.listen(0, '127.0.0.1', resolve))
    const { port } = hasty.address() as AddressInfo
    running = bench(`127.0.0.1:${port}`, {}, undefined, new SpanBuffer(100_000))
    for (let i = 0; i < BATCHES; i++) {
      running.work(100, 'x'.repeat(4000))
      void running.emitter.flush(10_000)
      await until('the batch is on its way', () => running!.buffer.counts().inFlight === 100 && socket !== undefined)
      socket!.write(replyTo({ strict: true, name: 'Log', seqid: i + 1 }, ResultCode.OK))
      await until('it is taken for sent', () => running!.buffer.counts().sent === 100 * (i + 1))
    }
    const names: (string | undefined)[] = []
    let bytes = Buffer.alloc(0)
    socket!.on('data', data => {
      bytes = Buffer.concat([bytes, data])
      while (bytes.length >= 4 && bytes.length >= 4 + bytes.readInt32BE(0)) {
        const reader = new Reader(bytes.subarray(4, 4 + bytes.readInt32BE(0)))
        reader.messageBegin()
        for (const { message } of readLogArgs(reader)) names.push(...recordsIn(message).map(({ name }) => name))
        bytes = bytes.subarray(4 + bytes.readInt32BE(0))
      }
    })
    socket!.resume()
    await until('all has come', () => names.length === 100 * BATCHES)
    assert.deepEqual(
      names,
      Array.from({ length: 100 * BATCHES }, (_, i) => `work ${i}`),
    )
    socket!.destroy()
    hasty.close()
  })

  it('encodes what waits ahead of its time, but no more than a batch beside the one that is under way', async () => {
    peer.react = () => 'silence'
    const buffer = new SpanBuffer(1000)
    running = bench(peer.address, { delayMs: 1, aheadSpans: 10, batchSpans: 100 }, undefined, buffer)
    const waitingOrNot = () => [buffer.counts().buffered, buffer.counts().inFlight]
    running.work(9)
    assert.deepEqual(waitingOrNot(), [9, 0])
    running.work(1)
    assert.deepEqual(waitingOrNot(), [10, 0], 'nothing is encoded within the call')
    await until('the batch has been begun', () => buffer.counts().inFlight === 10)
    await until('it is under way', () => peer.calls.length === 1)
    for (let i = 0; i < 20; i++) {
      running.work(25)
      await new Promise(resolve => setImmediate(resolve))
      running.addsUp()
    }
    assert.deepEqual(waitingOrNot(), [400, 110])
  })

  it('begins no more ahead than a small buffer holds', async () => {
    const buffer = new SpanBuffer(60)
    running = bench(peer.address, { delayMs: 60_000, aheadSpans: 10 }, undefined, buffer)
    for (let i = 0; i < 12; i++) {
      running.work(5)
      const { buffered, inFlight } = buffer.counts()
      assert.ok(buffered + inFlight <= 60, `${buffered} + ${inFlight}`)
      await new Promise(resolve => setImmediate(resolve))
    }
    await until('it was sent before its time', () => buffer.counts().sent > 30)
  })

  it('sends what comes after a while of nothing soon, and what comes then with more of it', async () => {
    const buffer = new SpanBuffer(1000)
    running = bench(peer.address, { delayMs: 1, spacingMs: 60_000, batchSpans: 10 }, undefined, buffer)
    running.work(1)
    await until('the first was sent', () => buffer.counts().sent === 1)
    running.work(9)
    const { _idleTimeout: waitsMs } = (running.emitter as any).timer
    assert.ok(waitsMs > 30_000, `${waitsMs}`)
    running.work(1)
    await until('a full batch was sent', () => buffer.counts().sent === 11)
  })

  it('gives up the batch that has been begun with the rest, and counts it', async () => {
    const buffer = new SpanBuffer(1000)
    running = bench(peer.address, { delayMs: 60_000, aheadSpans: 10 }, undefined, buffer)
    running.work(15)
    await until('the batch has been begun', () => buffer.counts().inFlight === 15)
    running.work(5)
    running.emitter.close()
    assert.deepEqual([buffer.counts().drops.shutdown, buffer.counts().inFlight], [20, 0])
  })

  it('does a bounded piece of work in a turn when every span is too large: it sends what is small of each', async () => {
    running = bench(peer.address, {}, undefined, new SpanBuffer(1000))
    const { buffer } = running
    for (let i = 0; i < 20; i++) {
      const large = endedSpan('large')
      // What 256 events of full length in four-byte letters take, without the time to make them.
      large.own = Array.from({ length: 256 }, () => '😀'.repeat(2048))
      large.own.push('milo.keep', 'error')
      buffer.add(large)
      assert.equal(large.own.length, 258)
    }
    const nameless = endedSpan('x'.repeat(2 * 1024 * 1024))
    buffer.add(nameless)
    running.emitter.wake()
    running.work(1)
    await until('all have come', () => peer.spans.length === 21)
    await until('they are counted', () => buffer.counts().sent === 21)
    assert.equal(buffer.counts().drops.too_large, 1)
    const { name, annotations } = peer.spans[0]!
    assert.deepEqual([name, annotations!.size, annotations!.get('milo.keep')], ['large', 2, 'error'])
    assert.ok(Number(annotations!.get('milo.too_large')) > 2 * 1024 * 1024)
  })

  it('drops a span that can’t be encoded, counts it, and sends its neighbours', async () => {
    running = bench(peer.address)
    const bad = endedSpan('bad')
    bad.name = { toString: () => assert.fail() } as any
    running.work(1)
    running.buffer.add(bad)
    const none = endedSpan('none')
    none.name = undefined as any
    running.buffer.add(none)
    running.work(1)
    assert.equal(await running.emitter.flush(20_000), false)
    assert.deepEqual(
      peer.spans.map(s => s.name),
      ['work 0', 'work 1'],
    )
    assert.equal(running.buffer.counts().drops.unencodable, 2)
  })

  it('goes on at the next address after TRY_LATER, and after a call that fails', async () => {
    for (const reaction of [{ reply: 1 }, 'close', 'exception'] as Reaction[]) {
      peer.react = () => reaction
      running = bench(`${peer.address},${other.address}`)
      running.work(3)
      assert.equal(await running.emitter.flush(20_000), true)
      running.emitter.close()
    }
    assert.equal(peer.spans.length, 0)
    assert.equal(other.spans.length, 9)
  })

  it('returns to the first address when that has had time to recover', async () => {
    peer.react = () => 'close'
    running = bench(`${peer.address},${other.address}`, { returnMs: 30, delayMs: 1 })
    running.work(1)
    assert.equal(await running.emitter.flush(20_000), true)
    assert.deepEqual([peer.spans.length, other.spans.length], [0, 1])
    peer.react = () => ({ reply: 0 })
    await until('the first gets spans again', () => {
      running!.work(1)
      return peer.spans.length > 0
    })
    const before = other.spans.length
    running.work(50)
    assert.equal(await running.emitter.flush(20_000), true)
    assert.equal(other.spans.length, before)
  })

  it('stays with the second address while the first is dead', async () => {
    const dead = peer.address
    await peer.close()
    running = bench(`${dead},${other.address}`, { returnMs: 10, delayMs: 1 })
    for (let i = 0; i < 20; i++) {
      running.work(1)
      assert.equal(await running.emitter.flush(20_000), true)
    }
    assert.equal(other.spans.length, 20)
    assert.ok(running.emitter.failures >= 1)
  })

  it('takes half a reply for none', async () => {
    peer.react = call => (call === 1 ? 'half a reply' : { reply: 0 })
    running = bench(peer.address, { replyTimeoutMs: 50 })
    running.work(2)
    assert.equal(await running.emitter.flush(20_000), true)
    // More than twice where the machine takes longer than this timeout.
    assert.ok(peer.calls.length >= 2)
    assert.equal(new Set(peer.spans.map(({ id }) => id)).size, 2)
  })

  it('sends base64 to a relay that keeps only text', async () => {
    init({ sampler: 'always', scribe: peer.address, scribeEncoding: 'base64', logLevel: 'silent' })
    span('über', s => s.annotate('key', 'välue'))
    assert.equal(await shutdown(20_000), true)
    assert.equal(peer.sawBase64, true)
    assert.deepEqual(
      peer.spans.map(s => [s.name, s.annotations!.get('key')]),
      [['über', 'välue']],
    )
  })

  describe('with TLS', () => {
    let secure: ScribePeer
    beforeEach(async () => {
      secure = await ScribePeer.listen(undefined, { key: pem('key.pem'), cert: pem('cert.pem') })
    })
    afterEach(() => secure.close())

    const failed = () => until('it has failed', () => stats().failures > 0)

    it('sends to an authority that scribeTls names, by name and by address', async () => {
      for (const host of ['localhost', '127.0.0.1']) {
        init({
          sampler: 'always',
          scribe: `tls://${host}:${secure.port}`,
          scribeTls: { ca: pem('cert.pem') },
          logLevel: 'silent',
        })
        span(host, () => {})
        assert.equal(await shutdown(20_000), true)
      }
      assert.deepEqual(
        secure.spans.map(s => s.name),
        ['localhost', '127.0.0.1'],
      )
    })

    it('sends nothing to one whose certificate nobody vouches for', async () => {
      init({ sampler: 'always', scribe: `tls://localhost:${secure.port}`, logLevel: 'silent' })
      span('secret', () => {})
      await failed()
      assert.equal(await shutdown(50), false)
      assert.deepEqual(secure.calls, [])
    })

    it('sends to any where NODE_TLS_REJECT_UNAUTHORIZED is 0, as Node does, unless its own options say otherwise', async () => {
      const { emitWarning } = process
      // Node's own, of the variable.
      process.emitWarning = () => {}
      process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
      try {
        const scribe = `tls://localhost:${secure.port}`
        init({ sampler: 'always', scribe, logLevel: 'silent' })
        span('any', () => {})
        assert.equal(await shutdown(20_000), true)
        init({ sampler: 'always', scribe, scribeTls: { rejectUnauthorized: true }, logLevel: 'silent' })
        span('known', () => {})
        await failed()
        assert.equal(await shutdown(50), false)
        assert.deepEqual(
          secure.spans.map(s => s.name),
          ['any'],
        )
      } finally {
        delete process.env.NODE_TLS_REJECT_UNAUTHORIZED
        process.emitWarning = emitWarning
      }
    })

    it('sends to any when told so, and shows its own certificate', async () => {
      const strict = await ScribePeer.listen(undefined, {
        key: pem('key.pem'),
        cert: pem('cert.pem'),
        ca: pem('cert.pem'),
        requestCert: true,
        rejectUnauthorized: true,
      })
      try {
        init({
          sampler: 'always',
          scribe: strict.address,
          scribeTls: { rejectUnauthorized: false, cert: pem('cert.pem').toString(), key: pem('key.pem') },
          logLevel: 'silent',
        })
        span('shown', () => {})
        assert.equal(await shutdown(20_000), true)
        assert.equal(strict.spans.length, 1)
      } finally {
        await strict.close()
      }
    })

    it('does not speak plainly to a TLS server, nor TLS to a plain one', async () => {
      for (const scribe of [secure.address, `tls://${peer.address}`]) {
        init({ sampler: 'always', scribe, scribeTls: undefined, logLevel: 'silent' })
        span('misled', () => {})
        await failed()
        assert.equal(await shutdown(50), false)
      }
      assert.deepEqual([...secure.calls, ...peer.calls], [])
    })
  })
})
