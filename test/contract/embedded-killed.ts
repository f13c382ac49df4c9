import { setTimeout as sleep } from 'node:timers/promises'
import { openEmbedded } from '../../collector/src/store/embedded/store'
import { messageOf, randomId, span, unique } from './store-contract'

/** All that is acknowledged will be looked for, which takes 10 ms an append. */
const PAUSE_MS = 20

/**
 * A process that appends, merges and retires until it is killed: what it indexes it does so often that it merges all the
 * time. Standard output has a line for each append once it is acknowledged: when, how many traces, their name.
 */
async function main(): Promise<void> {
  const [path, retentionDays] = process.argv.slice(2)
  const store = await openEmbedded({ path: path!, retentionDays: Number(retentionDays), settleMs: 10 }, () => {})
  const write = async () => {
    for (;;) {
      const name = unique('killed')
      const traces = 1 + Math.floor(Math.random() * 30)
      const records = Array.from({ length: traces }, () => {
        const startUs = BigInt(Date.now()) * 1000n
        return span({ name, startUs, traceId: randomId(), tags: { number: name.slice(-6), common: 'x' } })
      })
      const sentMs = Date.now()
      // Twice at once, as a sender does that had no answer.
      await Promise.all([store.append([messageOf(records)]), store.append([messageOf(records)])])
      process.stdout.write(`${sentMs} ${traces} ${name}\n`)
      await sleep(PAUSE_MS)
    }
  }
  await Promise.all(Array.from({ length: 4 }, write))
}

void main()
