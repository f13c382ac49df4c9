'use strict'
const Module = require('node:module')
// The repository's own copy of the API is newer than the SDK's here, and OpenTelemetry takes no newer one beside an older.
const OWN = require.resolve('@opentelemetry/api')
const { _resolveFilename } = Module
Module._resolveFilename = function (request, ...rest) {
  if (request === '@opentelemetry/api') return OWN
  return _resolveFilename.call(this, request, ...rest)
}
const { counts, drain } = require('../opentelemetry.cjs')
const { ThriftInstrumentation } = require('milo/otel-instrumentation')
new ThriftInstrumentation()

// The program is the untraced one, loaded after the instrumentation.
module.exports = { ...require('./untraced.cjs'), counts, drain }
