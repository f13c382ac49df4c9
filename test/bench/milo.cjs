'use strict'
const milo = require('milo')

// `-r milo/register` has patched what is loaded from here on. Only the buffer is larger than by default, as that of
// OpenTelemetry's processor is: what is dropped costs nothing, and would flatter whoever drops it. Beside a Scribe that takes
// nothing it is as by default.
milo.init({
  service: 'bench',
  scribe: `127.0.0.1:${process.env.BENCH_SCRIBE_PORT}`,
  sampler: sampler(Number(process.env.BENCH_PROBABILITY)),
  maxBufferedSpans: Number(process.env.BENCH_BUFFERED_SPANS ?? 100_000),
  logLevel: process.env.BENCH_LOG_LEVEL ?? 'warn',
})

exports.drain = () => milo.flush(30_000)

exports.counts = () => {
  const { sent, dropped } = milo.stats()
  return { sent, lost: dropped }
}

function sampler(probability) {
  if (probability === 0) return 'never'
  return probability === 1 ? 'always' : `probability:${probability}`
}
