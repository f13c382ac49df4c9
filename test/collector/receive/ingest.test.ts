import assert from 'node:assert/strict'
import fc from 'fast-check'
import { createMetrics } from '../../../collector/src/metrics'
import { readEntry } from '../../../collector/src/receive/entry-reader'
import { createIngest, type Sender } from '../../../collector/src/receive/ingest'
import { decodeRecords } from '../../../collector/src/record/records'
import { type Message, NO_BACKLOG, StoreError } from '../../../collector/src/store/store'
import { CodecError } from '../../../src/codec/binary'
import { type LogEntry, ResultCode } from '../../../src/codec/scribe'
import { EventType, encodeRecord, type SpanRecord } from '../../../src/codec/span'
import { thriftSpan } from '../formats/zipkin-v1-thrift'
import { recordingLog, span } from '../support'

const a = encodeRecord(span({ name: 'a' }))
const b = encodeRecord(span({ name: 'b' }))
const c = encodeRecord(span({ name: 'c' }))

/** With another delimiter, length, or byte at an offset. */
function broken(record: Buffer, change: { delimiter?: number; length?: number; byteAt?: [number, number] }): Buffer {
  const copy = Buffer.from(record)
  if (change.delimiter !== undefined) copy.writeUInt32BE(change.delimiter, 0)
  if (change.length !== undefined) copy.writeInt32BE(change.length, 4)
  if (change.byteAt !== undefined) copy[change.byteAt[0]] = change.byteAt[1]
  return copy
}

/** What the store is given of an entry. */
function taken(...parts: Buffer[]): Buffer {
  const { messages, spans } = readEntry(Buffer.concat(parts))
  const body = Buffer.concat(messages.map(message => message.body))
  assert.equal(spans, decodeRecords(body).length)
  assert.equal(
    spans,
    messages.reduce((sum, message) => sum + message.spans, 0),
  )
  return body
}

function names(...parts: Buffer[]): (string | undefined)[] {
  return decodeRecords(taken(...parts)).map(({ name }) => name)
}

function rejected(...parts: Buffer[]): Record<string, number> {
  return Object.fromEntries(readEntry(Buffer.concat(parts)).rejected)
}

describe('what ingest takes out of a message', () => {
  it('takes every record of a good message, whose bytes it passes on as they are', () => {
    const bytes = Buffer.concat([a, b, c])
    assert.deepEqual(names(bytes), ['a', 'b', 'c'])
    assert.deepEqual(rejected(bytes), {})
    assert.deepEqual(taken(bytes), bytes)
    const [message, ...others] = readEntry(bytes).messages
    assert.equal(others.length, 0)
    assert.equal(message!.body.buffer, bytes.buffer, 'not a copy')
  })

  it('finds nothing in an empty message, and rejects nothing', () => {
    assert.deepEqual(names(Buffer.alloc(0)), [])
    assert.deepEqual(rejected(Buffer.alloc(0)), {})
  })

  const cases: [string, Buffer, Record<string, number>][] = [
    ['has another delimiter', broken(b, { delimiter: 0xdeadbeef }), { bad_delimiter: 1 }],
    ['has a negative length', broken(b, { length: -1 }), { negative_length: 1 }],
    ['has the lowest length there is', broken(b, { length: -2147483648 }), { negative_length: 1 }],
    ['has a length beyond the message', broken(b, { length: 2147483647 }), { truncated: 1 }],
    ['has a length of 0', broken(b, { length: 0 }), { truncated: 1 }],
    ['has a length that is too short by one', broken(b, { length: b.length - 9 }), { truncated: 1 }],
    ['has a length that is too long by one', broken(b, { length: b.length - 7 }), { bad_length: 1 }],
    ['has a length that swallows the next record', broken(b, { length: b.length - 8 + c.length }), { bad_length: 1 }],
    ['has a field of a type that does not exist', broken(b, { byteAt: [8, 99] }), { bad_type: 1 }],
    ['is noise', Buffer.from('deadbeef00ff8badf00d01', 'hex'), { bad_delimiter: 1 }],
    ['is a delimiter and nothing else', Buffer.from('8badf00d', 'hex'), { negative_length: 1 }],
    ['has no trace id', encodeRecord({ id: 1n, name: 'b' }), { no_trace_id: 1 }],
    ['has no span id', encodeRecord({ traceId: 1n, name: 'b' }), { no_span_id: 1 }],
    ['has no field at all', encodeRecord({}), { no_trace_id: 1 }],
    ['is larger than 1 MiB', encodeRecord(span({ name: 'x'.repeat(1024 * 1024) })), { too_large: 1 }],
    [
      'has a million events that say nothing',
      encodeRecord(span({ events: Array.from({ length: 1_000_000 }, () => ({})) })),
      { empty_parts: 1 },
    ],
  ]
  for (const [what, bad, reasons] of cases) {
    it(`keeps the records around one that ${what}, and counts it`, () => {
      assert.deepEqual(names(a, bad, c), ['a', 'c'])
      assert.deepEqual(rejected(a, bad, c), reasons)
      assert.deepEqual(taken(a, bad, c), Buffer.concat([a, c]))
    })

    it(`keeps the records after a first one that ${what}`, () => {
      assert.deepEqual(names(bad, a, c), ['a', 'c'])
      assert.deepEqual(rejected(bad, a, c), reasons)
    })

    it(`keeps the records around one that ${what}, also in base64`, () => {
      const text = Buffer.from(Buffer.concat([a, bad, c]).toString('base64'))
      assert.deepEqual(names(text), ['a', 'c'])
      assert.deepEqual(rejected(text), reasons)
    })
  }

  it('keeps the records before a last one that is cut off at any byte, and invents none', () => {
    for (let length = 1; length < b.length; length++) {
      assert.deepEqual(names(a, b.subarray(0, length)), ['a'])
      assert.deepEqual(rejected(a, b.subarray(0, length)), { truncated: 1 })
    }
  })

  it('keeps the records around one that is cut off at any byte', () => {
    const long = encodeRecord({ traceId: 1n, id: 2n, name: 'x'.repeat(100) })
    for (const record of [b, long]) {
      for (let length = 1; length < record.length; length++) {
        // The next record in the very place of what is missing: that is what an annotation with a record in it looks like.
        if (record.length - length === c.length) continue
        assert.deepEqual(names(a, record.subarray(0, length), c), ['a', 'c'], `${length} bytes`)
        assert.equal(Object.keys(rejected(a, record.subarray(0, length), c)).length, 1)
      }
    }
  })

  it('counts each of several bad records', () => {
    const bad = broken(b, { byteAt: [8, 99] })
    assert.deepEqual(names(a, bad, bad, c, encodeRecord({}), bad), ['a', 'c'])
    assert.deepEqual(rejected(a, bad, bad, c, encodeRecord({}), bad), { bad_type: 3, no_trace_id: 1 })
  })

  it('does not take a record for one that stands in the annotation of a bad one', () => {
    const w = encodeRecord(span({ name: 'outer', annotations: new Map([['k', '\u0000\u0001i']]) }))
    // The annotation's value, made as long as a record and replaced by it: bytes as somebody may have logged them.
    const inner = encodeRecord({ traceId: 1n, id: 2n, name: 'inner' })
    const value = w.lastIndexOf(Buffer.from([0, 1, 0x69])) - 4
    const outer = Buffer.concat([w.subarray(0, value), Buffer.alloc(4), inner, w.subarray(value + 7)])
    outer.writeInt32BE(inner.length, value)
    outer.writeInt32BE(outer.length - 8, 4)
    assert.deepEqual(names(a, outer, c), ['a', 'outer', 'c'])
    assert.deepEqual(names(a, broken(outer, { byteAt: [8, 99] }), c), ['a', 'c'])
  })

  it('takes events, annotations and counters that are small, and an event that says nothing', () => {
    const small = span({
      name: 'small',
      events: Array.from({ length: 1000 }, (_, i) => (i % 2 ? { timestamp: 1n } : { eventType: EventType.CUSTOM })),
      annotations: new Map([['', '']]),
      counters: new Map([['', 0n]]),
    })
    assert.deepEqual(names(encodeRecord(small), encodeRecord({ traceId: 1n, id: 1n, events: [{}] })), [
      'small',
      undefined,
    ])
  })

  it('takes ids that are 0 or negative when they are there', () => {
    const low = encodeRecord(span({ traceId: 0n, id: -(2n ** 63n), name: 'low' }))
    assert.deepEqual(names(low), ['low'])
  })

  it('takes event types and fields that it does not know', () => {
    const odd = encodeRecord(span({ name: 'odd', events: [{ timestamp: 1n, eventType: 9 as EventType }] }))
    const later = Buffer.concat([odd.subarray(0, -1), Buffer.from('0b004d000000016100', 'hex')])
    later.writeInt32BE(later.length - 8, 4)
    assert.deepEqual(names(later, a), ['odd', 'a'])
    assert.equal(decodeRecords(taken(later))[0]!.events![0]!.eventType, 9)
    assert.deepEqual(taken(later, a), Buffer.concat([later, a]))
  })

  it('takes strings that are not UTF-8, with their bytes', () => {
    const plain = encodeRecord(span({ name: 'xyz', annotations: new Map([['k', 'v']]) }))
    const bad = broken(plain, { byteAt: [plain.indexOf('xyz') + 1, 0xff] })
    assert.deepEqual(names(bad, a), ['x\ufffdz', 'a'])
    assert.deepEqual(taken(bad, a), Buffer.concat([bad, a]))
  })

  it('makes one message of small entries, and several of a large one, and loses none on the way', () => {
    const many = Array.from({ length: 3000 }, (_, i) => encodeRecord(span({ name: `n${i}`, service: 'x'.repeat(500) })))
    const bytes = Buffer.concat(many)
    const { messages } = readEntry(bytes)
    assert.ok(messages.length > 1)
    for (const { body } of messages) assert.ok(body.length < 1024 * 1024)
    assert.deepEqual(taken(bytes), bytes)
  })

  it('reads base64 with line breaks, without padding, in the URL alphabet, and several texts in a row', () => {
    const bytes = Buffer.concat([a, b, c])
    const base64 = bytes.toString('base64')
    const forms = [
      base64,
      `\n ${base64}\r\n`,
      base64.replace(/.{76}/g, '$&\r\n'),
      base64.replace(/=+$/, ''),
      bytes.toString('base64url'),
      [a, b, c].map(record => record.toString('base64')).join('\n'),
      [a, b, c].map(record => record.toString('base64')).join(''),
    ]
    for (const form of forms) {
      assert.deepEqual(taken(Buffer.from(form)), bytes)
      assert.deepEqual(rejected(Buffer.from(form)), {})
    }
  })

  it('keeps the records of a base64 text up to what is not base64', () => {
    const text = Buffer.from(`${Buffer.concat([a, b]).toString('base64')}\u0000${c.toString('base64')}`)
    assert.deepEqual(names(text), ['a', 'b'])
    assert.deepEqual(rejected(text), { bad_base64: 1 })
  })

  it('rejects text that is neither', () => {
    assert.deepEqual(rejected(Buffer.from('Jan 1 00:00:00 host app: hello!')), { bad_delimiter: 1 })
    assert.deepEqual(rejected(Buffer.from('hello')), { truncated: 1 })
    assert.deepEqual(rejected(Buffer.from('helloworld')), { bad_delimiter: 1 })
  })

  it('gives up on a message in which every record that it tries holds all the following', () => {
    // Each event carries the beginning of a span that reaches to the end and is bad there.
    const event = Buffer.from('0b00630000000f8badf00d000fffff0f00070c0000ffff00', 'hex')
    const hostile = Buffer.concat([Buffer.from([0xff]), ...Array.from({ length: 40_000 }, () => event)])
    assert.deepEqual(names(hostile), [])
    assert.deepEqual(rejected(hostile), { bad_delimiter: 1 })
  })

  it('takes nothing but good records out of any bytes, and every good one that nothing has been put into', () => {
    const good = fc.constantFrom(a, b, c)
    const broken = fc.tuple(good, fc.nat(), fc.integer({ min: 0, max: 255 })).map(([record, at, byte]) => {
      const copy = Buffer.from(record)
      copy[at % copy.length] = byte
      return copy
    })
    const piece = fc.oneof(
      good,
      broken,
      fc.uint8Array({ maxLength: 40 }).map(bytes => Buffer.from(bytes)),
      fc.tuple(good, fc.nat()).map(([record, at]) => record.subarray(0, at % record.length)),
      fc.constantFrom(Buffer.from('8badf00d', 'hex'), Buffer.from('8badf00d7fffffff', 'hex'), Buffer.alloc(8)),
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), fc.boolean(), (pieces, base64) => {
        const bytes = Buffer.concat(pieces)
        // Asserts that they decode.
        taken(base64 ? Buffer.from(bytes.toString('base64')) : bytes)
      }),
      { numRuns: 1000 },
    )
    fc.assert(
      fc.property(fc.array(good, { maxLength: 5 }), broken, fc.array(good, { maxLength: 5 }), (before, bad, after) => {
        const all = names(...before, bad, ...after)
        // The broken one may be good still, or swallow its neighbour as any record of its length would.
        assert.ok(all.length >= before.length && all.length <= before.length + after.length + 1)
        assert.deepEqual(all.slice(0, before.length), names(...before))
      }),
      { numRuns: 1000 },
    )
  })
})

describe('what ingest answers', () => {
  function ingest(append: (messages: Message[]) => Promise<void>, maxInFlightBytes = 1024 * 1024) {
    const metrics = createMetrics()
    const { log, lines } = recordingLog()
    const backlog = { ...NO_BACKLOG }
    const it = createIngest({
      store: { append, backlog: () => backlog },
      category: 'Milo-Trace',
      zipkinCategory: 'zipkin',
      maxInFlightBytes,
      maxBacklogSpans: 1000,
      maxBacklogBytes: 1024 * 1024,
      metrics,
      log,
    })
    /** A call, read at once. */
    const call = (entries: Iterable<LogEntry>, bytes: number, sender: Sender): Promise<ResultCode> => {
      const reading = it.log(entries, bytes, sender)
      if (reading instanceof Promise) return reading
      for (;;) {
        const step = reading.next()
        if (step.done) return step.value
      }
    }
    const newSender = () => {
      const sender: Sender = { inFlightBytes: 0 }
      return (record: SpanRecord | Buffer, category = 'Milo-Trace') => {
        const message = Buffer.isBuffer(record) ? record : encodeRecord(record)
        return call([{ category, message }], message.length, sender)
      }
    }
    const count = async (name: string) => {
      const metric = await metrics.registry.getSingleMetric(`milo_collector_${name}`)!.get()
      return metric.values.reduce((sum, { value }) => sum + value, 0)
    }
    const rejected = async () => {
      const { values } = await metrics.spansRejected.get()
      return Object.fromEntries(values.map(({ labels, value }) => [labels.reason, value]))
    }
    return { ...it, call, newSender, send: newSender(), count, rejected, lines, backlog }
  }

  it('is TRY_LATER when the store refuses (a store in this test), OK when it takes them again, and it adds up', async () => {
    let refuse = true
    const { send, count, storeFails, lines } = ingest(async () => {
      if (refuse) throw new Error('disk full')
    })
    assert.equal(await send(span()), ResultCode.TRY_LATER)
    assert.equal(storeFails(), true)
    assert.equal(await send(span()), ResultCode.TRY_LATER)
    refuse = false
    assert.equal(await send(Buffer.concat([a, encodeRecord({}), b])), ResultCode.OK)
    assert.equal(storeFails(), false)
    assert.equal(await count('spans_received_total'), 5)
    assert.equal(await count('spans_stored_total'), 2)
    assert.equal(await count('spans_rejected_total'), 1)
    assert.equal(await count('spans_deferred_total'), 2)
    assert.equal(await count('spans_in_flight'), 0)
    assert.equal(await count('bytes_in_flight'), 0)
    // Two refusals, one line: the second came too soon after it.
    assert.equal(lines.filter(line => line.err?.message === 'disk full').length, 1)
  })

  it('is TRY_LATER when the store throws (a store in this test) instead of rejecting', async () => {
    const { send } = ingest(() => {
      throw new Error('closed')
    })
    assert.equal(await send(span()), ResultCode.TRY_LATER)
  })

  it('waits for the store: nothing is OK before it is durable (a store in this test)', async () => {
    let release = () => {}
    const { send, count } = ingest(() => new Promise(resolve => (release = resolve)))
    let answered = false
    const sent = send(span()).finally(() => (answered = true))
    for (let i = 0; i < 10; i++) await new Promise(setImmediate)
    assert.equal(answered, false)
    assert.equal(await count('spans_in_flight'), 1)
    release()
    assert.equal(await sent, ResultCode.OK)
    assert.equal(await count('spans_in_flight'), 0)
  })

  it('is TRY_LATER at once while too much waits for the store (a slow one in this test)', async () => {
    const releases: (() => void)[] = []
    const { newSender, count } = ingest(() => new Promise(resolve => releases.push(resolve)))
    const large = () => newSender()(span({ name: 'x'.repeat(600_000) }))
    const waiting = [large(), large()]
    assert.equal(await large(), ResultCode.TRY_LATER)
    await new Promise(setImmediate)
    for (const release of releases) release()
    assert.deepEqual(await Promise.all(waiting), [ResultCode.OK, ResultCode.OK])
    assert.equal(await count('bytes_in_flight'), 0)
    assert.equal(await count('log_calls_in_flight'), 0)
  })

  it('is TRY_LATER for a sender that floods, and OK for another that sends little (a slow store in this test)', async () => {
    const releases: (() => void)[] = []
    const { newSender } = ingest(() => new Promise(resolve => releases.push(resolve)))
    const [flood, second, third] = [newSender(), newSender(), newSender()]
    const piece = () => span({ name: 'x'.repeat(100_000) })
    const waiting: Promise<ResultCode>[] = []
    const sendUntilRefused = async (send: typeof flood) => {
      for (let taken = 0; ; taken++) {
        const before = releases.length
        const answer = send(piece())
        if (releases.length === before) {
          assert.equal(await answer, ResultCode.TRY_LATER)
          return taken
        }
        waiting.push(answer)
      }
    }
    // Of 1 MiB: half for one alone, and then shares of what is left.
    assert.ok(Math.abs((await sendUntilRefused(flood)) - 5) <= 1)
    assert.ok(Math.abs((await sendUntilRefused(second)) - 2) <= 1)
    const before = releases.length
    waiting.push(third(span()))
    assert.equal(releases.length, before + 1)
    for (const release of releases) release()
    for (const code of await Promise.all(waiting)) assert.equal(code, ResultCode.OK)
  })

  it('is TRY_LATER, before a call is read, while too much waits to be indexed', async () => {
    const { send, backlog, count, hasRoom } = ingest(async () => assert.fail('asked for no append'))
    backlog.spans = 1000
    assert.equal(await send(span()), ResultCode.TRY_LATER)
    assert.equal(hasRoom(), false)
    backlog.spans = 0
    backlog.bytes = 1024 * 1024
    assert.equal(await send(Buffer.from('not even a record')), ResultCode.TRY_LATER)
    assert.equal(await count('spans_received_total'), 0)
    assert.equal(await count('log_calls_total'), 2)
    backlog.bytes = 0
    assert.equal(hasRoom(), true)
  })

  it('is TRY_LATER when the store says that it is busy, which is no failure (a store in this test)', async () => {
    const { send, storeFails } = ingest(() => Promise.reject(new StoreError('MILO_STORE_BUSY', 'wait')))
    assert.equal(await send(span()), ResultCode.TRY_LATER)
    assert.equal(storeFails(), false)
  })

  it('has no effect when the entries can not be read to their end', async () => {
    const { call, count } = ingest(async () => assert.fail('asked for no append'))
    function* entries() {
      yield { category: 'Milo-Trace', message: a }
      yield { category: 'other', message: a }
      throw new CodecError('truncated', 'cut off')
    }
    const sender = { inFlightBytes: 0 }
    assert.throws(() => call(entries(), 1000, sender), { code: 'truncated' })
    assert.equal(sender.inFlightBytes, 0)
    for (const name of ['spans_received_total', 'entries_dropped_total', 'bytes_in_flight', 'log_calls_in_flight']) {
      assert.equal(await count(name), 0, name)
    }
  })

  it('takes a call of 200,000 bad records in steps, between which others have their turn', () => {
    const bad = broken(encodeRecord({}), { length: 1 })
    const message = Buffer.concat(Array.from({ length: 200_000 }, () => bad))
    const { log } = ingest(async () => {})
    const reading = log([{ category: 'Milo-Trace', message }], message.length, { inFlightBytes: 0 })
    let steps = 0
    if (!(reading instanceof Promise)) while (!reading.next().done) steps++
    assert.ok(steps > 3, `${steps} steps`)
  })

  it('checks what comes over HTTP as it does what comes from Scribe, and counts it by its source', async () => {
    const stored: Message[] = []
    const { add, reject, count } = ingest(async messages => void stored.push(...messages))
    assert.equal(await add(Buffer.concat([a, encodeRecord({}), b]), 'otlp'), 'ok')
    reject('otlp', 'bad_trace_id', 3)
    assert.deepEqual(Buffer.concat(stored.map(({ body }) => body)), Buffer.concat([a, b]))
    assert.equal(await count('spans_received_total'), 6)
    assert.equal(await count('spans_stored_total'), 2)
    assert.equal(await count('spans_rejected_total'), 4)
    assert.equal(await count('bytes_in_flight'), 0)
  })

  describe('to Zipkin’s category', () => {
    const rpc = (id: string) =>
      thriftSpan({
        ...{ traceId: '1', id, name: 'get' },
        annotations: ['cs', 'sr'].map((value, i) => ({
          ...{ value, timestamp: 1_700_000_000_000_000 + i, endpoint: { serviceName: ['front', 'shop'][i] } },
        })),
      })
    const base64 = (bytes: Buffer) => bytes.toString('base64')
    const zipkin = (message: Buffer | string) => ({ category: 'zipkin', message: Buffer.from(message) })

    it('is OK for a span in base64, in lines or with one at its end, and raw: all are the same records', async () => {
      const stored: Message[] = []
      const { call, count } = ingest(async messages => void stored.push(...messages))
      const text = base64(rpc('2'))
      const lines = text.replace(/.{76}/g, '$&\r\n')
      const forms = [text, `${text}\n`, `${text}\r\n`, `\n${text}`, lines, text.replaceAll('=', ''), rpc('2')]
      assert.ok(lines.length > text.length)
      for (const form of forms) assert.equal(await call([zipkin(form)], 1000, { inFlightBytes: 0 }), ResultCode.OK)
      for (const message of stored) {
        assert.deepEqual(
          decodeRecords(message.body).map(({ id, name, service }) => [id, name, service]),
          [
            [2n, 'get', 'front'],
            [2n, 'get', 'shop'],
          ],
        )
      }
      assert.equal(stored.length, forms.length)
      assert.equal(await count('spans_received_total'), 2 * forms.length)
      assert.equal(await count('bytes_in_flight'), 0)
    })

    it('counts what is none by its reason, and takes all that is good beside it', async () => {
      const stored: Message[] = []
      const { call, count, rejected } = ingest(async messages => void stored.push(...messages))
      const good = rpc('3')
      const entries = [
        zipkin(base64(rpc('2'))),
        ...[zipkin(''), zipkin('no base64!'), zipkin(base64(good.subarray(0, -1))), zipkin(good.subarray(0, 9))],
        ...[zipkin(base64(thriftSpan({ traceId: '1' }))), zipkin(base64(Buffer.from('0c0063'.repeat(99), 'hex')))],
        zipkin(base64(thriftSpan({ traceId: '1', id: '1', name: 'x'.repeat(1024 * 1024) }))),
        // What may be in Thrift, and is a little more as a record.
        zipkin(thriftSpan({ traceId: '1', id: '1', name: 'x'.repeat(1024 * 1024 - 30) })),
        { category: 'Milo-Trace', message: a },
        { category: 'other', message: good },
        zipkin(a),
        zipkin(good),
      ]
      assert.equal(await call(entries, 1000, { inFlightBytes: 0 }), ResultCode.OK)
      const names = decodeRecords(Buffer.concat(stored.map(({ body }) => body))).map(({ id, name }) => `${name} ${id}`)
      assert.deepEqual(
        names.map(name => name.replace(/^a .*/, 'a')),
        ['get 2', 'get 2', 'a', 'get 3', 'get 3'],
      )
      assert.deepEqual(await rejected(), { truncated: 3, bad_type: 2, no_span_id: 1, too_deep: 1, too_large: 2 })
      assert.equal(await count('spans_received_total'), 5 + 9)
      assert.equal(await count('spans_stored_total'), 5)
      assert.equal(await count('entries_dropped_total'), 1)
    })

    it('is OK only when the good ones are durable, and TRY_LATER when they are not', async () => {
      let release = (_: Error | undefined) => {}
      const { call, count } = ingest(
        () => new Promise((resolve, reject) => (release = error => (error ? reject(error) : resolve()))),
      )
      for (const error of [new Error('disk full'), undefined]) {
        let answered = false
        const entries = [zipkin('nonsense'), zipkin(base64(rpc('2')))]
        const sent = call(entries, 1000, { inFlightBytes: 0 }).finally(() => (answered = true))
        for (let i = 0; i < 10; i++) await new Promise(setImmediate)
        assert.equal(answered, false)
        release(error)
        assert.equal(await sent, error ? ResultCode.TRY_LATER : ResultCode.OK)
      }
      assert.equal(await count('spans_deferred_total'), 2)
      assert.equal(await count('spans_stored_total'), 2)
    })

    it('reads a call of many in steps, between which others have their turn', () => {
      const { log } = ingest(async () => {}, 1024 * 1024 * 1024)
      // The most that one may hold, of what costs most.
      const annotations = Array.from({ length: 60_000 }, () => ({ value: '' }))
      for (const message of [rpc('2'), Buffer.from('noise'), thriftSpan({ traceId: '1', id: '2', annotations })]) {
        const entries = Array.from({ length: message.length > 1000 ? 10 : 20_000 }, () => zipkin(message))
        const reading = log(entries, 1000, { inFlightBytes: 0 })
        let steps = 0
        if (!(reading instanceof Promise)) while (!reading.next().done) steps++
        assert.ok(steps > 3, `${steps} steps`)
      }
    })

    it('is OK for any bytes', async () => {
      const { call, count } = ingest(async () => {})
      const bytes = fc.uint8Array({ maxLength: 300 }).map(Buffer.from)
      const part = fc.tuple(fc.nat(rpc('2').length), fc.boolean()).map(([end, isText]) => {
        const cut = rpc('2').subarray(0, end)
        return Buffer.from(isText ? base64(cut) : cut)
      })
      await fc.assert(
        fc.asyncProperty(fc.array(fc.oneof(bytes, part), { maxLength: 5 }), async messages => {
          assert.equal(await call(messages.map(zipkin), 1000, { inFlightBytes: 0 }), ResultCode.OK)
        }),
        { numRuns: 2000 },
      )
      const [received, stored, rejected] = await Promise.all(
        ['received', 'stored', 'rejected'].map(what => count(`spans_${what}_total`)),
      )
      assert.ok(rejected! > 1000)
      assert.equal(received, stored! + rejected!)
      assert.equal(await count('bytes_in_flight'), 0)
    })
  })

  it('is OK for nothing, for nothing good, and for other categories, none of which reaches the store', async () => {
    const appends: number[] = []
    const { send, call, count } = ingest(async messages => void appends.push(messages.length))
    assert.equal(await call([], 20, { inFlightBytes: 0 }), ResultCode.OK)
    assert.equal(await send(Buffer.alloc(0)), ResultCode.OK)
    assert.equal(await send(Buffer.from('noise')), ResultCode.OK)
    assert.equal(await send(span(), 'access-log'), ResultCode.OK)
    assert.deepEqual(appends, [])
    assert.equal(await count('entries_dropped_total'), 1)
    assert.equal(await count('spans_received_total'), 1)
    assert.equal(await count('spans_rejected_total'), 1)
  })
})
