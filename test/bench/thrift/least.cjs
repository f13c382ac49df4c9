'use strict'
const { Thrift } = require('thrift')
const { begin, counts, drain, end, isOn, storage } = require('../least.cjs')
const { service, handler, calling } = require('./untraced.cjs')

/*
 * The least for a call, and for serving it, by generated code that does it itself and knows this service alone: the ids go as one more
 * field of 28 bytes, and each side's span ends when the other side's answer is there, or has been written.
 */

const { CALL, REPLY } = Thrift.MessageType
const { STOP, STRING } = Thrift.Type
const FIELD = 8888
const ids = Buffer.alloc(21)

service.Client.prototype.send_echo = function (text) {
  const span = begin(storage.getStore())
  const seqid = this.seqid()
  const callback = this._reqs[seqid]
  this._reqs[seqid] = (error, result) => {
    end(span)
    return callback(error, result)
  }
  const output = new this.pClass(this.output)
  output.writeMessageBegin('echo', CALL, seqid)
  output.writeFieldBegin('text', STRING, 1)
  output.writeString(text)
  if (isOn) {
    ids.writeInt32BE(span.traceHi, 0)
    ids.writeInt32BE(span.traceLo, 4)
    ids.writeInt32BE(span.hi, 8)
    ids.writeInt32BE(span.lo, 12)
    output.writeFieldBegin('', STRING, FIELD)
    output.writeString(ids)
  }
  output.writeFieldStop()
  output.writeMessageEnd()
  return this.output.flush()
}

service.Processor.prototype.process_echo = (seqid, input, output) => {
  let text
  let parent
  for (;;) {
    const { ftype, fid } = input.readFieldBegin()
    if (ftype === STOP) break
    if (fid === FIELD) {
      const told = input.readBinary()
      parent = { traceHi: told.readInt32BE(0), traceLo: told.readInt32BE(4) }
    } else text = input.readString()
  }
  input.readMessageEnd()
  const span = begin(parent)
  storage.run(span, async () => {
    const result = await handler.echo(text)
    output.writeMessageBegin('echo', REPLY, seqid)
    output.writeFieldBegin('success', STRING, 0)
    output.writeString(result)
    output.writeFieldStop()
    output.writeMessageEnd()
    output.flush()
    end(span)
  })
}

module.exports = { service, handler, calling, counts, drain }
