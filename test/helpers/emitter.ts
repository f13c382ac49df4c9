import assert from 'node:assert/strict'
import { SpanBuffer } from '../../src/export/buffer'
import type { Address } from '../../src/export/connection'
import { Emitter, type EmitterOptions, SCRIBE_DEFAULTS } from '../../src/export/emitter'
import { scribe as scribeProtocol } from '../../src/export/scribe'
import type { SpoolOptions } from '../../src/export/spool'
import { randomHigh, randomLow } from '../../src/trace/id'
import { Kind, LiveSpan, Trace } from '../../src/trace/span'

export interface Bench {
  emitter: Emitter
  buffer: SpanBuffer
  /** Ends so many spans. */
  work(spans: number, value?: string): void
  addsUp(): void
}

/** An emitter of its own, with times that suit a test. */
export function bench(
  scribe: string,
  options: Partial<EmitterOptions> = {},
  spool?: SpoolOptions,
  buffer = new SpanBuffer(10_000, 16 * 1024 * 1024),
): Bench {
  const addresses = scribe.split(',').map((text): Address => {
    const [host, port] = text.split(':')
    return { host: host!, port: Number(port) }
  })
  const emitter = new Emitter(
    'scribe',
    { ...SCRIBE_DEFAULTS, addresses, longestPauseMs: 100, ...options },
    buffer,
    scribeProtocol('test', () => 'here', 'raw'),
    spool,
  )
  let n = 0
  return {
    emitter,
    buffer,
    work(spans, value) {
      for (let i = 0; i < spans; i++) {
        if (buffer.add(endedSpan(`work ${n++}`, value))) emitter.wake()
      }
    },
    addsUp() {
      const { ended, sent, buffered, inFlight, spooled, dropped } = buffer.counts()
      assert.equal(ended, sent + buffered + inFlight + spooled + dropped)
      for (const count of [sent, buffered, inFlight, spooled, dropped]) assert.ok(count >= 0)
    },
  }
}

export function endedSpan(name: string, value?: string): LiveSpan {
  const trace = new Trace(randomHigh(), randomLow(), 0, 0, true, false, 1, 0)
  const span = new LiveSpan(
    { add() {}, truncated() {} },
    trace,
    randomHigh(),
    randomLow(),
    0,
    0,
    Kind.LOCAL,
    name,
    trace.nowUs(),
  )
  if (value !== undefined) span.annotate('value', value)
  span.end()
  return span
}
