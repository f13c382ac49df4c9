'use strict'
const { counts, drain } = require('../opentelemetry.cjs')
const { registerInstrumentations } = require('@opentelemetry/instrumentation')
const { UndiciInstrumentation } = require('@opentelemetry/instrumentation-undici')

registerInstrumentations({ instrumentations: [new UndiciInstrumentation()] })

exports.drain = drain
exports.counts = counts
