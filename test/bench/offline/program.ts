import { join } from 'node:path'
import type { StoreConfig } from '../../../collector/src/store/open'
import { bundledProgram } from '../../helpers/bundle'

const parts: typeof import('./parts') = require(bundledProgram(join(__dirname, 'parts.ts'), 'offline'))

/**
 * `program.ts FILE RECORDS FROM_MS` fills an embedded store with at least so many records of traces that began from then on, and
 * prints { traces, records } as JSON.
 */

const APPENDS = 8

async function main(): Promise<void> {
  const [path, records, fromMs] = process.argv.slice(2) as [string, string, string]
  const store = await parts.openStore({ store: 'embedded', embedded: { path } } as StoreConfig)
  const made = parts.messages(Number(records), BigInt(fromMs) * 1000n)
  const pending = new Set<Promise<void>>()
  let stored = 0
  let next = made.next()
  for (; !next.done; next = made.next()) {
    const messages = next.value
    for (const { spans } of messages) stored += spans
    const append: Promise<void> = retried(() => store.append(messages)).finally(() => pending.delete(append))
    pending.add(append)
    if (pending.size >= APPENDS) await Promise.race(pending)
  }
  await Promise.all(pending)
  await store.close()
  process.stdout.write(`${JSON.stringify({ traces: next.value, records: stored })}\n`)
}

/** A store that is too far behind takes nothing for now, as senders know it. */
async function retried(append: () => Promise<void>): Promise<void> {
  for (;;) {
    try {
      return await append()
    } catch {
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  }
}

void main()
