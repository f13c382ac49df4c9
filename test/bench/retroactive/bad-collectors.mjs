import { median, progress, shuffled, table } from '../measure.mjs'
import { BadCollector, Chain, Collector, MISBEHAVIOR } from './chain.mjs'

/* The ten services, loaded in turns beside a collector as it should be and others that aren't. */

/** What each process may send at once, and then in a second (src/keep/retroactive.ts): what others ask of it, and what it keeps itself. */
const BURST_BYTES = 2 * 4 * 1024 * 1024
const BYTES_A_SECOND = 2 * 1024 * 1024
const PLACES = 10
/** More and the machine is measured, not the services. */
const MOST_RATE = 200
const SECONDS = 4
const MOST_ROUNDS = 7

export async function besideBadCollectors({ rate, rounds }) {
  const load = {
    rate: Math.min(Number(rate), MOST_RATE),
    seconds: SECONDS,
    every: 50,
    signs: ['error', 'slow', 'hidden'],
  }
  const collector = await Collector.start()
  const peers = []
  const variants = [
    { name: 'nothing is recorded', env: { MILO_SCRIBE: collector.scribe } },
    { name: 'collector as it should be', env: { MILO_SCRIBE: collector.scribe, MILO_RETROACTIVE: '1' } },
    { name: 'dead: refuses connections', env: { MILO_SCRIBE: '127.0.0.1:1', MILO_RETROACTIVE: '1' } },
  ]
  for (const [way, name] of [
    ['silent', 'slow: takes all, never answers'],
    ['garbage', 'lies: garbage, replies without an end'],
    ['greedy', 'lies: asks for everything, always'],
  ]) {
    const peer = await BadCollector.start(MISBEHAVIOR[way])
    peers.push(peer)
    variants.push({ name, peer, env: { MILO_SCRIBE: peer.scribe, MILO_RETROACTIVE: '1', MILO_LOG_LEVEL: 'silent' } })
  }
  try {
    for (const variant of variants) {
      variant.chain = await Chain.start(variant.env)
      variant.runs = []
      await variant.chain.run({ ...load, seconds: 3 })
    }
    const all = Math.min(Number(rounds), MOST_ROUNDS)
    for (let round = 0; round < all; round++) {
      for (const variant of shuffled(variants)) {
        const { chain, peer, runs } = variant
        const fromMs = Date.now()
        const before = peer?.bytesUp
        const run = await chain.run(
          { ...load, tellAll: peer !== undefined },
          { onIds: ids => peer.ids.splice(0, Math.max(0, peer.ids.push(...ids) - 1_000)) },
        )
        runs.push({ ...run, bytes: peer && peer.bytesUp - before, ms: Date.now() - fromMs })
        progress(`beside bad collectors: round ${round + 1} of ${all}`)
      }
    }
    return report(variants, load, all)
  } finally {
    progress('')
    await Promise.all(variants.map(({ chain }) => chain?.stop()))
    await Promise.all([collector, ...peers].map(each => each.stop()))
  }
}

function report(variants, { rate }, rounds) {
  const [off] = variants
  let failed = false
  const rows = variants.map(variant => {
    const { name, runs, peer } = variant
    const of = pick => median(runs.map(pick))
    const ratio = pick => median(runs.map((run, i) => pick(run) / pick(off.runs[i])))
    const last = runs.at(-1).after
    const history = variant === off ? '' : String(Math.min(...last.map(({ retroactive }) => retroactive.spans)))
    const went =
      variant === off || last.every(({ retroactive }, i) => retroactive.spans > 0 && retroactive.seconds > 0 && i >= 0)
    // In a process of its own, bytes can't be told from others' here: the sum is what all may send.
    const seconds = runs.reduce((sum, { ms }) => sum + ms / 1000, 0)
    const bytes = peer && runs.reduce((sum, { bytes }) => sum + bytes, 0)
    const most = PLACES * (BURST_BYTES + seconds * BYTES_A_SECOND)
    const answered = runs.every(({ leftOut }) => leftOut === 0)
    const holds = went && (bytes === undefined || bytes <= most)
    failed ||= !holds
    return [
      name,
      `${of(run => run.p50).toFixed(2)} / ${of(run => run.p99).toFixed(1)}`,
      of(run => run.cpuUs).toFixed(0),
      variant === off ? '' : `${ratio(run => run.p50).toFixed(2)} / ${ratio(run => run.p99).toFixed(2)}`,
      variant === off ? '' : ratio(run => run.cpuUs).toFixed(2),
      answered ? 'all' : 'not all',
      history,
      bytes === undefined
        ? ''
        : `${(bytes / seconds / PLACES / 1024).toFixed(1)} (≤ ${(most / seconds / PLACES / 1024).toFixed(0)})`,
      holds ? 'yes' : 'no',
    ]
  })
  const head = [
    'collector',
    'p50 / p99 ms',
    'CPU µs a request',
    'p50 / p99, ratio',
    'CPU, ratio',
    'answered',
    'spans in the shortest history',
    'KiB/s a process',
    'holds',
  ]
  return {
    failed,
    text: [
      '### Beside collectors that misbehave',
      `The ten services, ${rate} traces a second, one in fifty of which goes wrong; ${rounds} rounds of ${SECONDS} s in turns, each beside a collector of its kind. Ratios are to the same round with nothing recorded, medians; latency of a request that nothing is wrong with. It holds if histories go on and no more is sent than the limits allow: the bytes of what it keeps itself and of what it is asked for.`,
      table(head, rows),
    ].join('\n\n'),
  }
}
