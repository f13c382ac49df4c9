import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { CodecError, MessageType, Reader, T, Writer, writeMessageBegin } from '../../../src/codec/binary'
import { SpanScan, scanSpanStruct } from '../../../src/codec/scan'
import { CATEGORY, logFrame, readLogArgs, readLogReply } from '../../../src/codec/scribe'
import {
  EventType,
  encodeRecord,
  readRecord,
  readSpanStruct,
  type SpanRecord,
  writeSpanStruct,
} from '../../../src/codec/span'
import { recordsIn } from '../../helpers/records'

const thrift = require('thrift')
const { Span: GeneratedSpan } = require('../../gen/idl/milo_types')

const vectors = (name: string): any[] => JSON.parse(readFileSync(join(__dirname, `../../vectors/${name}.json`), 'utf8'))

/** A span in the words of the IDL, as the vectors have it, as a record. */
function fromWords(words: any): SpanRecord {
  const big = (v: unknown) => (v === undefined ? undefined : BigInt(v as string))
  const map = (v: any, of: (x: string) => any) => v && new Map(Object.entries(v).map(([k, x]) => [k, of(x as string)]))
  const record: SpanRecord = {
    traceId: big(words.trace_id),
    name: words.name,
    id: big(words.id),
    parentId: big(words.parent_id),
    clientHost: words.client_host,
    serverHost: words.server_host,
    events: words.events?.map((e: any) =>
      withoutUndefined({ timestamp: big(e.timestamp), eventType: EventType[e.event_type as 'CUSTOM'], value: e.value }),
    ),
    annotations: map(words.annotations, x => x),
    counters: map(words.counters, BigInt),
  }
  return withoutUndefined(record)
}

function withoutUndefined<O extends object>(o: O): O {
  return Object.fromEntries(Object.entries(o).filter(([, v]) => v !== undefined)) as O
}

describe('codec: the original’s Scribe messages', () => {
  const calls = vectors('scribe-log').filter(v => v.decoded.type === MessageType.CALL)

  for (const vector of calls) {
    it(`reads and writes back ${vector.name}, byte for byte`, () => {
      const bytes = Buffer.from(vector.hex, 'hex')
      const reader = new Reader(bytes, 4)
      const header = reader.messageBegin()
      assert.equal(header.strict, vector.decoded.strict)
      assert.equal(header.name, 'Log')
      assert.equal(header.seqid, vector.decoded.seqid)
      const entries = readLogArgs(reader)
      assert.equal(reader.pos, bytes.length)
      const expected = vector.decoded.body.messages
      assert.deepEqual(
        entries.map(e => e.category),
        expected.map((m: any) => m.category),
      )
      entries.forEach(({ message }, i) => {
        const records = recordsIn(message)
        const wanted: SpanRecord[] = expected[i].message.map((m: any) => fromWords(m.span))
        assert.deepEqual(records, wanted)
        assert.deepEqual(Buffer.concat(records.map(encodeRecord)), message)
      })
    })
  }

  it('writes a Log call as the original’s Python emitter did, byte for byte', () => {
    const vector = calls.find(v => v.name === 'py_emitter_four_spans_one_message')
    const bytes = Buffer.from(vector.hex, 'hex')
    const reader = new Reader(bytes, 4)
    reader.messageBegin()
    const [entry] = readLogArgs(reader)
    assert.deepEqual(Buffer.concat(logFrame(0, CATEGORY, entry!.message)), bytes)
  })

  for (const vector of vectors('scribe-log').filter(v => v.decoded.type === MessageType.REPLY)) {
    it(`understands the reply ${vector.name}`, () => {
      assert.deepEqual(readLogReply(Buffer.from(vector.hex, 'hex').subarray(4)), { seqid: 0, code: 0 })
    })
  }
})

describe('codec: CALLTRACE', () => {
  for (const vector of vectors('calltrace').filter(v => v.decoded)) {
    it(`reads and writes back the header of ${vector.name}`, () => {
      const bytes = Buffer.from(vector.hex, 'hex').subarray(vector.framed ? 4 : 0)
      const reader = new Reader(bytes)
      const header = reader.messageBegin()
      const { strict, type, name, seqid, trace } = vector.decoded
      assert.deepEqual(header, { strict, type, name, seqid })
      const w = new Writer()
      writeMessageBegin(w, header)
      assert.deepEqual(w.take(), bytes.subarray(0, reader.pos))
      if (type === MessageType.CALLTRACE) {
        assert.deepEqual([reader.i64(), reader.i64(), reader.i64()].map(String), [
          trace.trace_id,
          trace.span_id,
          trace.parent_id,
        ])
      }
    })
  }
})

const i64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
const anyText = fc.string({ unit: 'binary', maxLength: 80 })
const anyRecord: fc.Arbitrary<SpanRecord> = fc.record(
  {
    traceId: i64,
    name: anyText,
    id: i64,
    parentId: i64,
    clientHost: anyText,
    serverHost: anyText,
    events: fc.array(
      fc.record(
        { timestamp: i64, eventType: fc.integer(), value: anyText },
        { requiredKeys: [], noNullPrototype: true },
      ),
      {
        maxLength: 5,
      },
    ),
    annotations: fc.array(fc.tuple(anyText, anyText), { maxLength: 5 }).map(pairs => new Map(pairs)),
    counters: fc.array(fc.tuple(anyText, i64), { maxLength: 5 }).map(pairs => new Map(pairs)),
    traceIdHigh: i64,
    service: anyText,
    // No −0 and no denormals: npm thrift's own writeDouble loses them.
    probability: fc.integer({ min: 0, max: 1000 }).map(n => n / 1000),
  },
  { requiredKeys: [], noNullPrototype: true },
)

describe('codec: against npm thrift and our IDL', () => {
  it('gives bytes that generated code reads and writes alike, and reads back what it wrote', () => {
    fc.assert(
      fc.property(anyRecord, record => {
        const w = new Writer(8)
        writeSpanStruct(w, record)
        const ours = w.take()
        assert.deepEqual(readSpanStruct(new Reader(ours)), record)

        const input = new thrift.TBinaryProtocol(new thrift.TFramedTransport(ours))
        const span = new GeneratedSpan()
        span.read(input)
        let theirs: Buffer = Buffer.alloc(0)
        const transport = new thrift.TBufferedTransport(undefined, (bytes: Buffer) => {
          theirs = bytes
        })
        span.write(new thrift.TBinaryProtocol(transport))
        transport.flush()
        // Generated code keeps a map in an object, where a key `__proto__` or one that looks like an index doesn't stay in place.
        const awkward = [...(record.annotations?.keys() ?? []), ...(record.counters?.keys() ?? [])].some(
          k => k === '__proto__' || /^\d+$/.test(k),
        )
        if (!awkward) assert.deepEqual(theirs, ours)
      }),
    )
  })

  it('survives every truncation and every changed byte of a record: a CodecError or a record, nothing else', () => {
    const bytes = encodeRecord({
      traceId: 1n,
      name: 'A.b',
      id: 2n,
      events: [{ timestamp: 3n, eventType: 1, value: 'x' }],
      annotations: new Map([['k', 'v']]),
      counters: new Map([['n', 5n]]),
      probability: 0.5,
    })
    for (let cut = 0; cut < bytes.length; cut++) {
      assert.throws(() => readRecord(bytes.subarray(0, cut), 0), CodecError)
    }
    for (let i = 0; i < bytes.length; i++) {
      for (const value of [0, 1, 0x0c, 0x0d, 0x0f, 0x7f, 0x80, 0xff]) {
        const changed = Buffer.from(bytes)
        changed[i] = value
        try {
          readRecord(changed, 0)
        } catch (error) {
          assert.ok(error instanceof CodecError, String(error))
        }
      }
    }
  })

  it('refuses nesting that would exhaust the stack', () => {
    const w = new Writer()
    for (let depth = 0; depth < 100_000; depth++) w.field(T.STRUCT, 99)
    assert.throws(() => readSpanStruct(new Reader(w.take())), { code: 'too_deep' })
  })

  it('refuses a length of 2^31−1 and a negative one without allocating for them', () => {
    for (const [length, code] of [
      [0x7fffffff, 'truncated'],
      [-1, 'negative_length'],
    ] as const) {
      const w = new Writer()
      w.field(T.STRING, 2)
      w.i32(length)
      assert.throws(() => readSpanStruct(new Reader(w.take())), { code })
    }
  })

  it('skips unknown fields of every type, and known ones of another type', () => {
    const w = new Writer()
    w.field(T.UUID, 40)
    w.raw(Buffer.alloc(16))
    w.field(T.MAP, 41)
    w.byte(T.I16)
    w.byte(T.LIST)
    w.i32(1)
    w.raw(Buffer.from([0, 1, T.BOOL, 0, 0, 0, 2, 1, 0]))
    w.field(T.SET, 42)
    w.byte(T.DOUBLE)
    w.i32(1)
    w.double(1)
    w.field(T.STRING, 1)
    w.string('a trace id that is a text')
    w.field(T.MAP, 8)
    w.byte(T.I32)
    w.byte(T.I32)
    w.i32(1)
    w.i32(1)
    w.i32(1)
    w.field(T.I64, 3)
    w.i64(0, 7)
    w.byte(T.STOP)
    assert.deepEqual(withoutUndefined(readSpanStruct(new Reader(w.take()))), { id: 7n })
  })
})

/** What scanSpanStruct should say of bytes from `pos` to `end`, by decoding them. */
function decoded(bytes: Buffer, pos: number, end: number) {
  const reader = new Reader(bytes, pos, end)
  let record: SpanRecord
  try {
    record = readSpanStruct(reader)
  } catch (error) {
    assert.ok(error instanceof CodecError, String(error))
    return 'refused'
  }
  const times = (record.events ?? []).filter(event => event.timestamp !== undefined)
  const calls = times.filter(({ eventType }) => eventType !== undefined && eventType >= 1 && eventType <= 4)
  const startUs = (calls.length > 0 ? calls : times)
    .map(event => event.timestamp!)
    .reduce<bigint | undefined>((least, t) => (least === undefined || t < least ? t : least), undefined)
  const { traceId, id, traceIdHigh, events, annotations, counters } = record
  const parts = (events?.length ?? 0) + (annotations?.size ?? 0) + (counters?.size ?? 0)
  return { end: reader.pos, traceId, id, traceIdHigh, startUs, parts, keep: annotations?.get('milo.keep') }
}

function scanned(bytes: Buffer, pos: number, end: number) {
  const found = new SpanScan()
  const behind = scanSpanStruct(bytes, pos, end, found)
  if (behind === -1) return 'refused'
  const at = (offset: number) => (offset === -1 ? undefined : bytes.readBigInt64BE(offset))
  const { traceIdAt, idAt, traceIdHighAt, startAt, parts, keepAt } = found
  return {
    end: behind,
    traceId: at(traceIdAt),
    id: at(idAt),
    traceIdHigh: at(traceIdHighAt),
    startUs: at(startAt),
    parts,
    keep: keepAt === -1 ? undefined : new Reader(bytes, keepAt).string(),
  }
}

describe('codec: a scan', () => {
  const seen = { good: 0, refused: 0 }
  /** A key that comes twice in a map counts twice in a scan. */
  function agree(bytes: Buffer, pos = 0, end = bytes.length): void {
    const expected = decoded(bytes, pos, end)
    const actual = scanned(bytes, pos, end)
    if (expected === 'refused' || actual === 'refused') {
      assert.equal(actual, expected, bytes.toString('hex'))
      seen.refused++
      return
    }
    assert.ok(actual.parts >= expected.parts, bytes.toString('hex'))
    assert.deepEqual({ ...actual, parts: 0 }, { ...expected, parts: 0 }, bytes.toString('hex'))
    seen.good++
  }

  beforeEach(() => Object.assign(seen, { good: 0, refused: 0 }))

  const struct = (record: SpanRecord) => {
    const w = new Writer(8)
    writeSpanStruct(w, record)
    return w.take()
  }

  it('finds in every span the ids, start, end and number of parts that decoding finds', () => {
    fc.assert(
      fc.property(anyRecord, fc.nat(20), fc.nat(20), (record, before, behind) => {
        const bytes = Buffer.concat([Buffer.alloc(before, 7), struct(record), Buffer.alloc(behind, 7)])
        const found = scanned(bytes, before, bytes.length)
        assert.deepEqual(found, decoded(bytes, before, bytes.length))
        assert.notEqual(found, 'refused')
      }),
    )
  })

  it('finds why a span was kept after the fact, among other annotations, and in the last of several maps', () => {
    const near = fc.constantFrom('milo.keep', 'milo.kee', 'milo.keeps', 'Milo.keep', 'milo.kee\0', '')
    const annotations = fc.array(fc.tuple(near, near)).map(entries => ({ annotations: new Map(entries) }))
    fc.assert(
      fc.property(annotations, fc.option(annotations), (record, second) => {
        const bytes = struct(record)
        agree(second === null ? bytes : Buffer.concat([bytes.subarray(0, -1), struct(second)]))
      }),
    )
    assert.equal(seen.refused, 0)
  })

  it('refuses a span that is cut off, wherever it is', () => {
    fc.assert(
      fc.property(anyRecord, record => {
        const bytes = struct(record)
        for (let end = 0; end < bytes.length; end++) assert.equal(scanned(bytes, 0, end), 'refused')
      }),
      { numRuns: 30 },
    )
  })

  it('accepts what decoding accepts, and nothing else, of spans with changed bytes', () => {
    const telling = fc.constantFrom(0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 0x7f, 0x80, 0xff)
    const change = fc.tuple(fc.nat(2000), telling)
    fc.assert(
      fc.property(anyRecord, fc.array(change, { minLength: 1, maxLength: 4 }), (record, changes) => {
        const bytes = struct(record)
        for (const [at, value] of changes) bytes[at % bytes.length] = value
        agree(bytes)
      }),
      { numRuns: 5000 },
    )
    assert.ok(seen.good > 500 && seen.refused > 500, JSON.stringify(seen))
  })

  it('does so with known fields of other types, repeated ones, empty lists and maps of anything, and what nests deep', () => {
    const types = [2, 3, 4, 6, 8, 10, 11, 12, 13, 14, 15, 16]
    /** A value of the type, by the dice. */
    function put(w: Writer, type: number, roll: (below: number) => number, depth: number): void {
      const inner = () => (depth > 70 ? T.BYTE : roll(6) === 0 ? roll(18) : types[roll(types.length)]!)
      switch (type) {
        case T.STRING:
          w.string('x'.repeat(roll(20)))
          return
        case T.STRUCT:
          for (let n = roll(4); n > 0; n--) {
            const field = inner() || T.BYTE
            w.field(field, 1 + roll(3))
            put(w, field, roll, depth + 1)
          }
          w.byte(T.STOP)
          return
        case T.MAP:
        case T.LIST:
        case T.SET: {
          const element = type === T.LIST && roll(2) === 0 ? T.STRUCT : inner()
          const value = roll(2) === 0 ? element : inner()
          w.byte(element)
          if (type === T.MAP) w.byte(value)
          const n = roll(4)
          w.i32(n)
          for (let i = 0; i < n; i++) {
            put(w, element, roll, depth + 1)
            if (type === T.MAP) put(w, value, roll, depth + 1)
          }
          return
        }
        default: {
          const width = { [T.BOOL]: 1, [T.BYTE]: 1, [T.I16]: 2, [T.I32]: 4, [T.I64]: 8, [T.DOUBLE]: 8, [T.UUID]: 16 }[
            type
          ]
          w.raw(Buffer.alloc(width ?? 0, roll(256)))
        }
      }
    }
    fc.assert(
      fc.property(fc.infiniteStream(fc.nat(1 << 20)), stream => {
        const roll = (below: number) => stream.next().value % below
        const w = new Writer()
        const own = { 1: 10, 2: 11, 3: 10, 7: 15, 8: 13, 9: 13, 10: 10 } as Record<number, number>
        for (let n = roll(8); n > 0; n--) {
          const id = roll(14)
          const type = roll(4) === 0 ? types[roll(types.length)]! : (own[id] ?? T.I32)
          w.field(type, id)
          put(w, type, roll, 0)
        }
        w.byte(T.STOP)
        agree(w.take())
      }),
      { numRuns: 3000 },
    )
    assert.ok(seen.good > 500 && seen.refused > 100, JSON.stringify(seen))
  })

  it('counts the depth of what it skips as decoding does', () => {
    const lists = (depth: number) =>
      Buffer.concat([...Array(depth).fill(Buffer.from([T.LIST, 0, 0, 0, 1])), Buffer.from([T.BYTE, 0, 0, 0, 1, 0])])
    // A field of its own, and the value of annotations that aren't texts.
    for (const head of [
      [T.LIST, 0, 50],
      [T.MAP, 0, 8, T.BYTE, T.LIST, 0, 0, 0, 1, 1],
    ]) {
      for (let depth = 60; depth < 70; depth++) {
        agree(Buffer.concat([Buffer.from(head), lists(depth), Buffer.from([T.STOP])]))
      }
    }
    assert.ok(seen.good >= 6 && seen.refused >= 6, JSON.stringify(seen))
  })

  it('finds in the original’s records what decoding finds', () => {
    for (const vector of vectors('scribe-log').filter(v => v.decoded.type === MessageType.CALL)) {
      const reader = new Reader(Buffer.from(vector.hex, 'hex'), 4)
      reader.messageBegin()
      for (const { message } of readLogArgs(reader)) {
        for (let pos = 0; pos < message.length; ) {
          const { end } = readRecord(message, pos)
          const found = scanned(message, pos + 8, end)
          assert.deepEqual(found, decoded(message, pos + 8, end))
          pos = end
        }
      }
    }
  })
})
