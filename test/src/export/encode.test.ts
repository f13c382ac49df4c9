import assert from 'node:assert/strict'
import { Writer } from '../../../src/codec/binary'
import { readRecord } from '../../../src/codec/span'
import { writeSpan } from '../../../src/export/encode'
import { Kind, LiveSpan, Trace } from '../../../src/trace/span'

const NOWHERE = { add() {}, truncated() {} }

function begun(): LiveSpan {
  return new LiveSpan(NOWHERE, new Trace(1, 2, 0, 0, true, false, 1, 0), 3, 4, 0, 0, Kind.SERVER, 'work', 1e15)
}

function recordOf(span: LiveSpan): Buffer {
  span.endAt(2e15)
  const w = new Writer(16)
  writeSpan(w, span, 'test', 'here')
  return w.take()
}

describe('a record', () => {
  it('has room for text that takes three bytes a character, wherever it is', () => {
    const text = (n: number) => `${'€'.repeat(n)}.`
    const span = begun()
    span.name = text(200)
    span.share([text(1), text(1000)])
    for (let i = 0; i < 50; i++)
      span
        .annotate(text(i + 2), text(100 * i))
        .record(text(100 + i))
        .count(text(i), i)
    const { record } = readRecord(recordOf(span), 0)
    assert.equal(record.name, text(200))
    assert.deepEqual([...record.annotations!].flat(), span.annotations)
    assert.deepEqual(
      [...record.counters!.keys()],
      span.counters!.filter(one => typeof one === 'string'),
    )
    assert.deepEqual(
      record.events!.slice(1, -1).map(({ value }) => value),
      span.events!.filter(one => typeof one === 'string'),
    )
  })
})

describe('a record of a span that shares lists of annotations', () => {
  const OPERATION = ['rpc.system', 'thrift', 'rpc.method', 'größe', 'empty', '']
  const PEER = ['network.peer.address', '10.0.0.7', 'network.peer.port', '9090']
  const ways: Record<string, (span: LiveSpan) => void> = {
    'nothing more': () => {},
    'more that is shared': span => span.share(OPERATION, PEER),
    'annotations of its own': span => span.annotate('mine', 1).annotate('mine', 2),
    'another value for a key that is shared': span => span.annotate('rpc.method', 'other').annotate('x', 'y'),
    'another value for a key of the second list': span => span.annotate('network.peer.port', 1),
    'lists that it adopts': span => span.adopt(['thrift.result', 'ok'], ['thrift.reply_bytes', 5]),
    'more than a span may have': span => {
      for (let i = 0; i < 200; i++) span.annotate(`key ${i}`, i)
    },
  }
  for (const [what, add] of Object.entries(ways)) {
    it(`has the same bytes as that of one with copies of its own, with ${what}`, () => {
      for (const more of [undefined, PEER]) {
        const sharing = begun()
        sharing.share(OPERATION, more)
        const copying = begun()
        copying.adopt([...OPERATION, ...(more ?? [])])
        add(sharing)
        add(copying)
        const record = recordOf(sharing)
        assert.deepEqual(record, recordOf(copying))
        assert.deepEqual(sharing.annotations, copying.annotations)
        assert.deepEqual(recordOf(sharing), record, 'also once somebody has read them')
      }
    })
  }
})
