import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { Feed, MAX_POLLS } from '../../../collector/src/keep/feed'
import { MessageType, T } from '../../../src/codec/binary'
import { until } from '../../helpers/until'
import { entriesOf, keepsFrame, kept, told } from '../keeps'
import { callFrame, collector, hex, logFrame, Peer, readReply, resultCode, span, undo } from '../support'

const thrift = require('thrift')
const Int64 = require('node-int64')
const Keeps = require('../../gen/idl/Keeps')
const { KeepsRequest } = require('../../gen/idl/milo_types')

describe('what processes should keep after the fact', () => {
  afterEach(undo)

  it('is told to a process that waits, by Thrift’s own client, once a record with milo.keep is stored', async () => {
    const c = await collector()
    const connection = thrift.createConnection('127.0.0.1', c.scribePorts[0], {
      transport: thrift.TFramedTransport,
      protocol: thrift.TBinaryProtocol,
    })
    const client = thrift.createClient(Keeps, connection)
    try {
      const ask = (since: number, waitMs: number) =>
        client.keeps(
          new KeepsRequest({
            since: new Int64(since),
            wait_ms: waitMs,
            service_name: 'shop',
            host: 'web1',
            process: new Int64(7),
            history_us: new Int64(1),
          }),
        )
      const now = await ask(0, 0)
      assert.equal(now.keeps.length, 0)
      const waiting = ask(now.next_us.toNumber(), 20_000)
      await until('it waits', async () => (await c.metric('keep_polls')) === 1)
      assert.equal(await c.metric('keep_processes'), 1)
      const peer = new Peer(c.scribePorts[0]!)
      const [asked, failed] = [kept('asked'), kept('error')]
      const sampled = kept('my word', { probability: 0.5 })
      assert.equal(await peer.log(span(), sampled, asked, failed, kept('slow', { traceId: failed.traceId })), 0)
      const { next_us, keeps } = await waiting
      assert.deepEqual(entriesOf(Buffer.from(keeps, 'latin1').length === 10 ? Buffer.from(keeps, 'latin1') : keeps), [
        { kind: 0, id: failed.traceId, n: 0 },
      ])
      assert.ok(next_us.toNumber() > now.next_us.toNumber())
      // Once a trace, whoever says it again.
      assert.equal(await peer.log(kept('slow', { traceId: failed.traceId })), 0)
      assert.equal((await ask(next_us.toNumber(), 0)).keeps.length, 0)
      assert.equal(await c.metric('keeps_announced_total{reason="error"}'), 1)
      assert.equal(await c.metric('keeps_announced_total'), 1)
    } finally {
      connection.destroy()
    }
  })

  it('is told to who comes late, in the form of the question, whatever since and wait say', async () => {
    const c = await collector()
    const peer = new Peer(c.scribePorts[0]!)
    const from = told(await peer.call(keepsFrame(0n, -5))).next
    const spans = [kept('error'), kept('slow'), kept('out of stock')]
    assert.equal(await peer.log(...spans), 0)
    const ids = spans.map(({ traceId }) => traceId)
    for (const strict of [true, false]) {
      const all = told(await peer.call(keepsFrame(from, 30_000, { strict, seqid: 5 })))
      assert.deepEqual(
        all.entries.map(({ id }) => id),
        ids,
      )
      assert.equal(all.strict, strict)
      // Other numbers of other collectors: of an hour ago, and of tomorrow.
      assert.deepEqual(
        told(await peer.call(keepsFrame(from - 3_600_000_000n, 20_000))).entries.map(({ id }) => id),
        ids,
      )
      told(await peer.call(keepsFrame(2n ** 63n - 1n, 0)))
      for (const since of [0n, -1n, from + 86_400_000_000n, -(2n ** 63n)]) {
        for (const wait of [0, -1, -(2 ** 31)])
          assert.deepEqual(told(await peer.call(keepsFrame(since, wait))).entries, [])
      }
    }
    assert.equal(await c.metric('keeps_announced_total{reason="application"}'), 1)
  })

  it('holds up no other call of its connection: a question ends when another call comes', async () => {
    const c = await collector()
    const peer = new Peer(c.scribePorts[0]!)
    peer.send(keepsFrame(0n, 30_000))
    await until('it waits', async () => (await c.metric('keep_polls')) === 1)
    peer.send(logFrame([span()], { seqid: 2 }))
    assert.deepEqual(told(await peer.reply()).entries, [])
    assert.equal(resultCode(await peer.reply()), 0)
    // All at once: only the last of them could wait.
    peer.send(Buffer.concat([keepsFrame(0n, 30_000), keepsFrame(0n, 30_000), logFrame([span()])]))
    told(await peer.reply())
    told(await peer.reply())
    assert.equal(resultCode(await peer.reply()), 0)
    assert.equal(await c.metric('keep_polls'), 0)
  })

  it('forgets the question of a peer that goes away, answers the others when it stops, and refuses what can’t be read', async () => {
    const c = await collector()
    const gone = new Peer(c.scribePorts[0]!)
    gone.send(keepsFrame(0n, 30_000, {}, 1n))
    const stays = new Peer(c.scribePorts[0]!)
    stays.send(keepsFrame(0n, 30_000, {}, 2n))
    await until('both wait', async () => (await c.metric('keep_polls')) === 2)
    gone.socket.destroy()
    await until('one waits', async () => (await c.metric('keep_polls')) === 1)
    const peer = new Peer(c.scribePorts[0]!)
    const bad = readReply(await peer.call(callFrame('keeps', {}, w => w.field(T.STRUCT, 1))))
    assert.deepEqual([bad.type, bad.exceptionType], [MessageType.EXCEPTION, 7])
    // Fields of other types and numbers are passed over.
    const odd = await peer.call(
      callFrame('keeps', {}, w => {
        w.field(T.I32, 9)
        w.i32(1)
        w.field(T.STRUCT, 1)
        w.field(T.STRING, 1)
        w.string('since')
        w.field(T.LIST, 7)
        w.byte(T.I32)
        w.i32(0)
        w.byte(T.STOP)
        w.byte(T.STOP)
      }),
    )
    assert.deepEqual(told(odd).entries, [])
    // A oneway call gets no reply, and waits for nothing.
    peer.send(keepsFrame(0n, 30_000, { type: MessageType.ONEWAY }))
    assert.equal(await peer.log(span()), 0)
    const answered = stays.reply()
    await c.close()
    assert.deepEqual(told(await answered).entries, [])
  })

  it('makes room for senders: a question that waits is closed before a connection is refused', async () => {
    const c = await collector({ max_connections: 3 })
    const polls = [1, 2, 3].map(() => new Peer(c.scribePorts[0]!))
    for (const poll of polls) poll.send(keepsFrame(0n, 30_000))
    await until('they wait', async () => (await c.metric('keep_polls')) === 3)
    assert.equal(await new Peer(c.scribePorts[0]!).log(span()), 0)
    await polls[0]!.closed
    assert.equal(await c.metric('keep_polls'), 2)
  })

  it('reaches hundreds of processes, while spans are taken', async () => {
    const c = await collector()
    const peers = Array.from({ length: 600 }, () => new Peer(c.scribePorts[0]!))
    const from = told(await peers[0]!.call(keepsFrame(0n, 0))).next
    const answers = peers.map(peer => peer.call(keepsFrame(from, 30_000)))
    await until('all wait', async () => (await c.metric('keep_polls')) === peers.length)
    const failed = kept('error')
    assert.equal(await new Peer(c.scribePorts[0]!).log(failed), 0)
    for (const answer of await Promise.all(answers)) {
      assert.deepEqual(told(answer).entries, [{ kind: 0, id: failed.traceId, n: 0 }])
    }
  })

  it('is told over HTTP as well, and of spans that come that way', async () => {
    const c = await collector()
    const feed = async (query: string) => {
      const response = await fetch(`${c.url}/api/keeps/feed?${query}`)
      return {
        status: response.status,
        next: response.headers.get('milo-next'),
        type: response.headers.get('content-type'),
        body: Buffer.from(await response.arrayBuffer()),
      }
    }
    const now = await feed('since=0')
    assert.deepEqual([now.status, now.type, now.body.length], [200, 'application/octet-stream', 0])
    const waiting = feed(`since=${now.next}&wait=20000&service=shop&host=web1&process=-9&history=1`)
    await until('it waits', async () => (await c.metric('keep_polls')) === 1)
    assert.equal(await c.metric('keep_processes'), 1)
    const traceId = hex(kept('x').traceId)
    const zipkin = [
      {
        traceId,
        id: traceId,
        name: 'order',
        timestamp: 1_700_000_000_000_000,
        duration: 5,
        kind: 'SERVER',
        localEndpoint: { serviceName: 'shop' },
        tags: { 'milo.keep': 'error', 'milo.history': '1' },
      },
    ]
    const headers = { 'content-type': 'application/json' }
    const posted = await fetch(`${c.url}/api/v2/spans`, { method: 'POST', headers, body: JSON.stringify(zipkin) })
    assert.equal(posted.status, 202)
    assert.deepEqual(entriesOf((await waiting).body), [{ kind: 0, id: BigInt(`0x${traceId}`), n: 0 }])
    assert.equal((await feed('since=x')).status, 400)
    assert.equal((await feed('since=0&wait=-1')).status, 200)
    // A file that somebody uploads isn't about what happens now.
    zipkin[0]!.traceId = hex(kept('x').traceId)
    await fetch(`${c.url}/api/traces`, { method: 'POST', headers, body: JSON.stringify(zipkin) })
    assert.equal((await feed(`since=${(await feed('since=0')).next}`)).body.length, 0)
    assert.equal(await c.metric('keeps_announced_total'), 1)
  })
})

describe('the feed', () => {
  const ids = (keeps: Buffer) => entriesOf(keeps).map(({ id }) => Number(id))

  it('gives a thousand entries at once, and the rest to the next question', async () => {
    const feed = new Feed()
    const answers: { next: number; keeps: Buffer }[] = []
    const ask = (since: number) => feed.poll(BigInt(since), 0, reply => answers.push(reply))
    ask(0)
    for (let i = 0; i < 2500; i++) feed.add(0, BigInt(i))
    for (let i = 0; i < 4; i++) ask(answers.at(-1)!.next)
    assert.deepEqual(
      answers.map(({ keeps }) => keeps.length),
      [0, 10_000, 10_000, 5_000, 0],
    )
    assert.deepEqual(
      answers.flatMap(({ keeps }) => ids(keeps)),
      Array.from({ length: 2500 }, (_, i) => i),
    )
  })

  it('remembers the last 16,384 entries: who asks for more gets those', () => {
    const feed = new Feed()
    let next = 0
    let seen: number[] = []
    const ask = (since: number) =>
      feed.poll(BigInt(since), 0, reply => {
        next = reply.next
        seen = ids(reply.keeps)
      })
    ask(0)
    const first = next
    for (let i = 0; i < 20_000; i++) feed.add(1, BigInt(i), 3)
    ask(first)
    assert.equal(seen[0], 20_000 - 16_384)
    assert.equal(seen.length, 1000)
  })

  it('lets ten thousand questions wait, refuses more, and answers all of them', async () => {
    const feed = new Feed()
    let next = 0n
    feed.poll(0n, 0, reply => (next = BigInt(reply.next)))
    const seen: number[] = []
    for (let i = 0; i < MAX_POLLS; i++) feed.poll(next, 30_000, ({ keeps }) => seen.push(...ids(keeps)))
    assert.equal(
      feed.poll(next, 30_000, () => assert.fail()),
      'too many',
    )
    assert.equal(feed.polls, MAX_POLLS)
    feed.add(0, 5n)
    await until('all are answered', () => seen.length === MAX_POLLS)
    assert.ok(seen.every(id => id === 5))
    assert.equal(feed.polls, 0)
  })

  it('takes numbers of a collector whose clock is ahead, behind, or which has just told something', () => {
    let nowUs = 1_700_000_000_000_000
    const feed = new Feed(() => nowUs, 1)
    const other = new Feed(() => nowUs + 1_000_000, 2)
    const ask = (of: Feed, since: number): { next: number; keeps: number[] } => {
      let answer: { next: number; keeps: number[] } | undefined
      of.poll(BigInt(since), 0, ({ next, keeps }) => {
        answer = { next, keeps: ids(keeps) }
      })
      return answer!
    }
    feed.add(0, 1n)
    nowUs += 100_000
    const ahead = ask(other, 0).next
    // This one has just told it: the other one may not have known it yet.
    const { next, keeps } = ask(feed, ahead)
    assert.deepEqual(keeps, [1])
    feed.add(0, 2n)
    assert.deepEqual(ask(feed, next).keeps, [2])
    assert.deepEqual(ask(feed, next + 3_600_000_000).keeps, [])
    nowUs -= 60_000_000
    feed.add(0, 3n)
    assert.deepEqual(ask(feed, ask(feed, next).next - 64).keeps, [3])
  })

  it('numbers an operation by the first 64 bits of sha256(service, NUL, name)', () => {
    const { operationId } = require('../../../collector/src/keep/keeping')
    const expected = createHash('sha256').update('shop\0Shop.order').digest().readBigUInt64BE(0)
    assert.equal(operationId('shop', 'Shop.order'), expected)
  })
})
