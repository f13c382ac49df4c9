import pino from 'pino'
import { createMetrics } from '../../../collector/src/metrics'
import { createRelay } from '../../../collector/src/relay/relay'
import { encodeRecord } from '../../../src/codec/span'
import { log, relayedSpan } from './relayed-span'

/**
 * A relay that takes spans until it is killed. Arguments: the spool's path, the upstream's port, and a number that makes its
 * spans' ids its own. A line on standard output is the id of a span that has been answered OK.
 */
const [path, port, run] = process.argv.slice(2) as [string, string, string]
const relay = createRelay({
  path,
  maxBytes: 100_000_000,
  upstreams: [{ host: '127.0.0.1', port: Number(port), tls: undefined }],
  base64: false,
  category: 'Milo-Trace',
  closeMs: 0,
  metrics: createMetrics(),
  log: pino({ level: 'silent' }),
})

async function take(lane: number): Promise<void> {
  for (let i = 0n; ; i++) {
    const id = BigInt(run) * 1_000_000_000n + BigInt(lane) * 1_000_000n + i + 1n
    const message = encodeRecord(relayedSpan(id))
    if ((await log(relay.ingest, [{ category: 'Milo-Trace', message }])) === 0) {
      process.stdout.write(`${id}\n`)
    }
  }
}

for (let lane = 1; lane <= 8; lane++) void take(lane)
