'use strict'
const { counts, drain } = require('../opentelemetry.cjs')
const { registerInstrumentations } = require('@opentelemetry/instrumentation')
const { HttpInstrumentation } = require('@opentelemetry/instrumentation-http')

registerInstrumentations({ instrumentations: [new HttpInstrumentation()] })

exports.drain = drain
exports.counts = counts
