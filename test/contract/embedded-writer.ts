import { openEmbedded } from '../../collector/src/store/embedded/store'
import { append, span, unique } from './store-contract'

/**
 * A process that fills a store until it is killed, or until the store refuses. Standard output has a line for each span
 * once it is acknowledged, its trace id and name; and at the end the error's code, how many were acknowledged, how many of
 * them could still be read, and what check says.
 */
async function main(): Promise<void> {
  const store = await openEmbedded({ path: process.argv[2]! }, () => {})
  const acknowledged: bigint[] = []
  const write = async () => {
    for (;;) {
      const record = span({ name: unique('kept'), tags: { filler: 'x'.repeat(5_000) } })
      await append(store, record)
      acknowledged.push(record.traceId)
      process.stdout.write(`${record.traceId} ${record.name}\n`)
    }
  }
  const ends = await Promise.allSettled(Array.from({ length: 4 }, write))
  const codes = new Set(ends.map(end => (end.status === 'rejected' ? end.reason.code : 'none')))
  let readable = 0
  for (const traceId of acknowledged) readable += (await store.readTrace(traceId)).records.length
  // What is left may do for a few more of check's own writes.
  let health = 'well'
  for (let i = 0; i < 20 && health === 'well'; i++)
    health = await store.check().then(
      () => 'well',
      error => error.code,
    )
  process.stdout.write(`end ${[...codes]} ${acknowledged.length} ${readable} ${health}\n`)
  // Ends one way or the other, and its thread with it.
  await store.close().catch(() => {})
}

void main()
