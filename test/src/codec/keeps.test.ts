import assert from 'node:assert/strict'
import { MessageType, T, Writer, writeMessageBegin } from '../../../src/codec/binary'
import { readKeepsReply, UNKNOWN_METHOD } from '../../../src/codec/keeps'

function exception(write: (w: Writer) => void): Buffer {
  const w = new Writer(64)
  writeMessageBegin(w, { strict: true, type: MessageType.EXCEPTION, name: 'keeps', seqid: 7 })
  w.field(T.STRING, 1)
  w.string('Unknown function keeps')
  write(w)
  w.byte(T.STOP)
  return w.take()
}

describe('a reply to keeps', () => {
  it('is of a peer without the method, also where the exception has no type, as that of npm’s Thrift', () => {
    const typed = (type: number) => (w: Writer) => {
      w.field(T.I32, 2)
      w.i32(type)
    }
    for (const [write, wanted] of [
      [typed(UNKNOWN_METHOD), UNKNOWN_METHOD],
      [() => {}, UNKNOWN_METHOD],
      [typed(6), 6],
    ] as const) {
      assert.deepEqual(readKeepsReply(exception(write)), { seqid: 7, reply: undefined, exception: wanted })
    }
  })
})
