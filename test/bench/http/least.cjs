'use strict'
const { Server, ServerResponse } = require('node:http')
const { begin, counts, drain, end, storage } = require('../least.cjs')

// The least for a request that is served: no header is read.
const SPAN = Symbol('span')

const served = Object.getPrototypeOf(Server.prototype)
const { emit } = served
served.emit = function (event, request, response) {
  // biome-ignore lint/complexity/noArguments: the least
  if (event !== 'request') return emit.apply(this, arguments)
  const span = begin()
  response[SPAN] = span
  return storage.run(span, () => emit.call(this, event, request, response))
}

const { emit: emitOfResponse } = ServerResponse.prototype
ServerResponse.prototype.emit = function (event) {
  if (event === 'close') end(this[SPAN])
  // biome-ignore lint/complexity/noArguments: the least
  return emitOfResponse.apply(this, arguments)
}

module.exports = { counts, drain }
