import { setTimeout as sleep } from 'node:timers/promises'
import { progress, quantile, table } from '../measure.mjs'
import { Chain, Collector, RECORDS } from './chain.mjs'

/*
 * What becomes of the traces in which something goes wrong. The services say which they are (service.cjs), and the collector's API is asked
 * what it has of them.
 */

/** Of what the machine carries at its best, what it is loaded with. */
const CARRIED = 0.6
/** When the store has to have a trace whole, after its end; and when it is looked at for the last time. */
const WHOLE_MS = 2_000
const LAST_MS = 15_000
/** Of a timer. */
const SLACK_MS = 50
const MUST_BE_WHOLE = 0.99
/** When it is looked at before. */
const LOOKS_MS = [250, 500, 1_000, 1_500, WHOLE_MS]
const MUST_BE_SENT = 0.01
const MUST_BE_WHOLE_OVERLOADED = 0.95

export const SIGNS = ['error', 'slow', 'hidden']
const RECORDED = { MILO_RETROACTIVE: '1' }

const percent = (share, digits = 1) => `${(share * 100).toFixed(digits)} %`
const count = n => Math.round(n).toLocaleString('en')

/** Runs with a chain and a collector of its own. */
async function beside(env, act) {
  const collector = await Collector.start()
  let chain
  try {
    chain = await Chain.start({ MILO_SCRIBE: collector.scribe, ...env })
    return await act(chain, collector)
  } finally {
    await chain?.stop()
    await collector.stop()
  }
}

/** The compiler's work, all connections, and the durations from which slow ones differ. */
export async function warmUp(chain, collector, rate) {
  await chain.run({ rate: Math.min(rate, 200), seconds: 5 })
  await collector?.isAsked()
}

/** How many traces a second the machine carries, up to what is wanted. */
async function rateOf({ rate }) {
  return beside(RECORDED, async (chain, collector) => {
    await warmUp(chain, collector, 200)
    const fastest = await chain.fastest(5)
    return { fastest, rate: Math.min(Number(rate), Math.floor((CARRIED * fastest) / 10) * 10) }
  })
}

let rated
export const carried = values => (rated ??= rateOf(values))

/** A trace with a sign has a span more if something fails inside. */
export const recordsOf = ({ sign }) => RECORDS + (sign === 'hidden' || sign === 'step' ? 1 : 0)

/** Watches traces come into the store. */
class Watch {
  #collector
  #looking = []
  /** Of each trace: how long it took to be whole in ms, and, unless it was, what was missing when it should have been there. */
  results = []

  constructor(collector) {
    this.#collector = collector
  }

  add = trace => void this.#looking.push(this.#look(trace))

  async #look(trace) {
    const wanted = recordsOf(trace)
    for (const ms of LOOKS_MS) {
      await sleep(Math.max(0, trace.endMs + ms - Date.now()))
      const atMs = Date.now() - trace.endMs
      // A bench that is too busy to look in time isn't lenient.
      if (atMs > WHOLE_MS + SLACK_MS) break
      if ((await this.#collector.recordsOf(trace.traceId)).length >= wanted)
        return void this.results.push({ ...trace, wholeMs: atMs })
    }
    const missing = await this.#missing(trace)
    await sleep(Math.max(0, trace.endMs + LAST_MS - Date.now()))
    const isWhole = (await this.#collector.recordsOf(trace.traceId)).length >= wanted
    this.results.push({ ...trace, missing, isLate: isWhole, later: isWhole ? [] : await this.#missing(trace) })
  }

  /** Why halves aren't there: a word for each. */
  async #missing({ traceId }) {
    const found = await this.#collector.get(`/api/traces/${traceId}`)
    if (found === undefined) return ['not kept']
    const { missing } = found.kept ?? { missing: [] }
    return missing.length > 0 ? missing.map(({ why }) => why) : ['unsaid']
  }

  async end() {
    await Promise.all(this.#looking)
    return this.results
  }
}

function tallied(lists) {
  const tally = new Map()
  // A trace counts once for each of its reasons.
  for (const list of lists) for (const why of new Set(list)) tally.set(why, (tally.get(why) ?? 0) + 1)
  return [...tally].map(([why, n]) => `${why} ${n}`).join(', ')
}

export async function wholeTraces(values) {
  const seconds = Number(values.seconds)
  const { rate, fastest } = await carried(values)
  progress('bytes of everything')
  const everything = await beside({ MILO_SAMPLER: 'always' }, async (chain, collector) => {
    await chain.run({ rate: 100, seconds: 2 })
    await chain.flush()
    const before = collector.bytesUp
    const { requests } = await chain.run({ rate: 100, seconds: 5 })
    await chain.flush()
    return (collector.bytesUp - before) / requests
  })
  const rows = []
  let failed = false
  for (const every of [10_000, 200]) {
    progress(`one in ${every}, ${seconds} s`)
    rows.push(
      await beside(RECORDED, async (chain, collector) => {
        await warmUp(chain, collector, rate)
        const watch = new Watch(collector)
        const before = collector.bytesUp
        const run = await chain.run({ rate, seconds, every, signs: SIGNS }, { onSign: watch.add })
        const results = await watch.end()
        const sent = (collector.bytesUp - before) / (run.requests * everything)
        const whole = results.filter(({ wholeMs }) => wholeMs !== undefined)
        const share = whole.length / results.length
        const kept = sumOf(run.after.map(({ retroactive }) => retroactive.kept))
        const [middle, most] = [0.5, 1].map(q =>
          whole.length === 0
            ? '–'
            : quantile(
                whole.map(({ wholeMs }) => wholeMs),
                q,
              ).toFixed(0),
        )
        const historyS = Math.min(...run.after.map(({ retroactive }) => retroactive.seconds))
        // What the machine's own slowness keeps isn't in the load's hands.
        failed ||= share < MUST_BE_WHOLE || (every === 10_000 && sent > MUST_BE_SENT)
        return [
          `1 in ${count(every)}`,
          `${count(run.requests / run.seconds)} (${run.leftOut} left out)`,
          `${run.p50.toFixed(1)} / ${run.p99.toFixed(0)}`,
          results.length === 0 ? 'none came' : `${whole.length} of ${results.length}: ${percent(share)}`,
          `${middle} / ${most}`,
          tallied(results.flatMap(({ missing }) => (missing === undefined ? [] : [missing]))),
          String(results.filter(({ isLate }) => isLate).length),
          Object.entries(kept)
            .map(([reason, n]) => `${reason} ${n}`)
            .join(', '),
          percent(sent, 2),
          `${historyS.toFixed(0)} s`,
        ]
      }),
    )
  }
  const head = [
    'signs',
    'traces/s',
    'p50 / p99 ms',
    `whole within ${WHOLE_MS / 1000} s`,
    'half / all by ms',
    'the others: missing',
    'whole later',
    'kept by all',
    'bytes of everything',
    'history',
  ]
  return {
    failed,
    text: [
      '### Ten processes',
      '',
      `A trace goes through ten processes, down a chain or a tree in turns: ${RECORDS} records, each with two annotations, all recorded and none sampled. Something goes wrong in`,
      'one of them, which the order of the traces chooses: an error that its caller does without, an error inside that nobody is told, or 150 ms. The processes, the collector',
      `(embedded store) and the bench share the machine, which carries ${count(fastest)} traces/s at its best and is loaded with ${count(rate)}. *Whole*: all records are in what the API answers. Musts: ≥ ${percent(MUST_BE_WHOLE, 0)}`,
      `whole, and ≤ ${percent(MUST_BE_SENT, 0)} of the bytes at 1 in 10,000, which are those to the collector's port, questions included. Everything is ${count(everything)} bytes a trace. *Kept by all*: the sum of what the processes kept, with`,
      'traces that were slow without being made so; *whole later*: within 15 s.',
      '',
      table(head, rows),
    ].join('\n'),
  }
}

function sumOf(list) {
  const sum = {}
  for (const one of list) for (const [key, n] of Object.entries(one)) sum[key] = (sum[key] ?? 0) + n
  return sum
}

export async function overload(values) {
  const { rate } = await carried(values)
  const seconds = Math.min(Number(values.seconds), 20)
  const rows = []
  let failed = false
  for (const { name, every, signs } of [
    { name: 'of an operation (1/s in each process): one in ten', every: 10, signs: ['error', 'hidden'] },
    { name: 'of a process (100/s): every trace, in one of 1,000 operations', every: 1, signs: ['step'] },
  ]) {
    progress(`overload ${name}`)
    rows.push(
      await beside({ ...RECORDED, MILO_RETROACTIVE_TRIGGERS: 'error' }, async (chain, collector) => {
        await warmUp(chain, collector, rate)
        const traces = []
        const run = await chain.run({ rate, seconds, every, signs }, { onSign: trace => traces.push(trace) })
        await sleep(WHOLE_MS)
        await chain.flush()
        const { kept, whole, missing } = await found(collector, traces)
        const share = whole / kept
        failed ||= share < MUST_BE_WHOLE_OVERLOADED
        const { asked, refused } = sumOf(run.after.map(({ retroactive: { asked, refused } }) => ({ asked, refused })))
        return [
          name,
          count(run.requests / run.seconds),
          count(traces.length / run.seconds),
          `${count(kept)} (${(kept / run.seconds).toFixed(0)}/s)`,
          percent(share),
          missing,
          `${count(asked)} / ${count(refused)}`,
          share >= MUST_BE_WHOLE_OVERLOADED ? 'yes' : 'no',
        ]
      }),
    )
  }
  return {
    failed,
    text: [
      `### More than the limits allow (errors alone keep, for ${seconds} s)`,
      table(
        [
          'limit',
          'traces/s',
          'with an error/s',
          'kept',
          'of them whole (≥ 95 %)',
          'missing',
          'asked / refused, all processes',
          'holds',
        ],
        rows,
      ),
    ].join('\n\n'),
  }
}

/** What the store has of these traces. */
async function found(collector, traces) {
  const missing = []
  let kept = 0
  let whole = 0
  const left = [...traces]
  const lane = async () => {
    for (let trace = left.pop(); trace !== undefined; trace = left.pop()) {
      const records = await collector.recordsOf(trace.traceId)
      if (records.length === 0) continue
      kept++
      if (records.length >= recordsOf(trace)) whole++
      else {
        const answer = await collector.get(`/api/traces/${trace.traceId}`)
        missing.push(answer.kept?.missing.map(({ why }) => why) ?? ['unsaid'])
      }
    }
  }
  await Promise.all(Array.from({ length: 4 }, lane))
  return { kept, whole, missing: tallied(missing) }
}

const ESTIMATED = { requests: 4_000, part: 0.25 }

export async function estimates(values) {
  const { rate } = await carried(values)
  const requests = Math.min(ESTIMATED.requests, rate * 10)
  const answers = []
  for (const way of ['0', '1']) {
    progress(`estimates with triggers ${way === '1' ? 'on' : 'off'}`)
    const env = { MILO_RETROACTIVE: way, SAMPLED_PART: String(ESTIMATED.part) }
    answers.push(
      await beside(env, async (chain, collector) => {
        const run = await chain.run({
          rate: rate / 2,
          seconds: 600,
          requests,
          every: 10,
          signs: SIGNS,
        })
        await chain.flush()
        await sleep(WHOLE_MS)
        const kept = Object.values(sumOf(run.after.map(({ retroactive }) => retroactive?.kept ?? {}))).reduce(
          (a, b) => a + b,
          0,
        )
        const figures = {}
        for (const path of ['/api/services', '/api/dependencies', '/api/dependencies?operations=true'])
          figures[path] = await collector.get(`${path}${path.includes('?') ? '&' : '?'}from=-30m`)
        return { kept, figures }
      }),
    )
  }
  const [off, on] = answers.map(({ figures }) => numbersOf(figures))
  const different = [...new Set([...off.keys(), ...on.keys()])].filter(key => off.get(key) !== on.get(key))
  const failed = different.length > 0 || off.size === 0
  return {
    failed,
    text: [
      '### Estimates with and without',
      `The same ${count(requests)} requests, of which the sampler keeps the same quarter and one in ten goes wrong: ${off.size} figures of services and edges (calls, errors; not durations, examples and intervals, which differ in any two runs, as times and ids do) are ${
        failed
          ? `NOT the same: ${different
              .slice(0, 10)
              .map(key => `${key} ${off.get(key)} / ${on.get(key)}`)
              .join('; ')}`
          : 'equal to the last digit'
      }, while ${count(answers[1].kept)} traces were kept besides.`,
    ].join('\n\n'),
  }
}

/** What is counted in an answer: a number for each path in it. An interval follows from the ids of the traces. */
function numbersOf(value, path = '', found = new Map()) {
  if (typeof value === 'number') {
    if (!/p\d\d|mean|duration|us$|last|first|from|to$|time|slow|series|low$|high$|exemplars/i.test(path))
      found.set(path, value)
  } else if (typeof value === 'object' && value !== null) {
    const named = item => (Array.isArray(value) && typeof item === 'object' && item !== null ? keyOf(item) : undefined)
    for (const [key, item] of Object.entries(value)) numbersOf(item, `${path}/${named(item) ?? key}`, found)
  }
  return found
}

/** Rows come in an order that durations may change. */
function keyOf(row) {
  return Object.values(row)
    .filter(cell => typeof cell === 'string')
    .join(' ')
}
