import { execFile } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { load, machine, progress, quantile, ROOT, table } from '../measure.mjs'

/* How long stores take to find and to read, once there is much in them. */

const HERE = dirname(fileURLToPath(import.meta.url))

export const options = {
  /** Of 100 spans: 53,000 make ten million annotations. */
  frames: { type: 'string', default: '53000' },
  queries: { type: 'string', default: '200' },
  /** embedded or databases; both when left out. */
  store: { type: 'string', default: '' },
}

const STORES = [
  { name: 'embedded', title: 'embedded' },
  { name: 'databases', title: 'Cassandra 5 (heap of 1 GiB) + MariaDB 10.11 (buffer pool of 1 GiB)' },
]

/** What the 95th percentile must not pass, in ms: one for both stores, or one each. */
const FOUND = { embedded: 50, databases: 25 }
const MUST = {
  'name, newest first': FOUND,
  'key = value, rare': FOUND,
  'key = value, common': FOUND,
  'rare AND common': FOUND,
  'common AND name': FOUND,
  'common AND common': FOUND,
  'value begins with': FOUND,
  'value of a key contains': { embedded: 100, databases: 800 },
  'a prefix that half of all spans have': { embedded: 100 },
  'an AND that never matches': { embedded: 100 },
  'trace of 10 spans': 8,
  'trace of 10,000 spans': 100,
  'trace of 100,000 spans': 500,
}

export async function bench({ frames, queries, store }) {
  const text = [
    `${machine()}. Load ${load().toFixed(1)}.`,
    '',
    'A store is filled through its own interface, then asked, one question after the other: 25 traces of each search, summaries made of the whole',
    'traces included; traces as their decoded records. Times are in ms.',
  ]
  let failed = false
  for (const { name, title } of STORES.filter(({ name }) => store === '' || name === store)) {
    progress(`search: filling ${name}`)
    const args = ['--require', 'tsx/cjs', join(HERE, 'program.ts'), name, frames, queries]
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT, maxBuffer: 1 << 26 })
    const { spans, annotations, seconds, bytes, results } = JSON.parse(stdout.slice(stdout.lastIndexOf('{"spans"')))
    const rows = Object.entries(results).map(([what, { ms, right }]) => {
      const must = typeof MUST[what] === 'object' ? MUST[what][name] : MUST[what]
      const p95 = quantile(ms, 0.95)
      const holds = must === undefined ? '' : p95 <= must && right === 1 ? 'yes' : 'no'
      failed ||= holds === 'no'
      return [
        what,
        round(quantile(ms, 0.5)),
        round(p95),
        must === undefined ? '' : `≤ ${must}`,
        holds,
        `${Math.round(right * 100)} %`,
      ]
    })
    const size = bytes === undefined ? '' : `, ${Math.round(bytes / spans)} bytes a span with its index`
    text.push(
      '',
      `### ${title}`,
      '',
      `${spans.toLocaleString('en')} spans, ${annotations.toLocaleString('en')} annotations${size}; filled in ${Math.round(seconds)} s.`,
      '',
      table(['', 'p50', 'p95', 'must', 'holds', 'found'], rows),
    )
  }
  progress('')
  return { text: text.join('\n'), failed }
}

function round(ms) {
  return ms < 10 ? ms.toFixed(1) : String(Math.round(ms))
}
