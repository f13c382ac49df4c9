import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { openStore } from '../../collector/src/store/open'
import type { StoreConfig } from '../../collector/src/store/store-config'
import { encodeRecord } from '../../src/codec/span'
import { randomId, span } from './store-contract'

/**
 * A collector's process that is fed until it is killed, by senders that send again what wasn't acknowledged. Standard output
 * has a line for each message once it is: the word by which its spans are found, and their records in hex, by commas, and a full stop.
 *
 * Standard input is a pipe: it ends with the test's process, and then so do we.
 */
const SENDERS = 8

async function main(): Promise<void> {
  process.stdin.on('close', () => process.exit()).resume()
  const store = await openStore(JSON.parse(process.argv[2]!) as StoreConfig)
  const shared = randomId()
  await Promise.all(
    Array.from({ length: SENDERS }, async () => {
      for (;;) {
        const word = randomBytes(8).toString('hex')
        const own = randomId()
        const startUs = BigInt(Date.now()) * 1000n
        const records = [own, own, shared].map(traceId =>
          encodeRecord(span({ traceId, startUs, service: 'killed', tags: { word } })),
        )
        while (!(await accepts(Buffer.concat(records)))) await sleep(50)
        process.stdout.write(`${word} ${records.map(record => record.toString('hex'))}.\n`)
        // All that is acknowledged will be looked for.
        await sleep(25)
      }
    }),
  )

  async function accepts(body: Buffer): Promise<boolean> {
    try {
      await store.append([{ body, spans: 3 }])
      return true
    } catch {
      return false
    }
  }
}

void main()
