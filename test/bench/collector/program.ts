import { FRAME_SPANS, send, uniqueValue } from './generator'
import { cpuOf, residentMiB, SYSTEMS, type System, settled } from './systems'

/**
 * One collector with its databases, loaded, counted and read back: `program.ts SYSTEM FRAMES SECONDS CONNECTIONS
 * [searching]`; with the last one, long searches go on meanwhile. The result goes to standard output as JSON; `memory` is the
 * collector's resident set in MiB, at its largest and in the course of time.
 */

/** Searches; Zipkin's memory store takes a second for each. */
const SEARCHES = { milo: 200, zipkin: 10 } as const
const MEMORY_MS = 250
const MAX_WARM_SECONDS = 60

async function main(): Promise<void> {
  const [name, frames, seconds, connections, searching] = process.argv.slice(2) as [
    string,
    string,
    string,
    string,
    string?,
  ]
  const system = await SYSTEMS[name]!()
  try {
    const warm = await send({
      ...target(system),
      connections: Number(connections),
      frames: system.warmFrames,
      seconds: MAX_WARM_SECONDS,
      first: 1_000_000,
    })
    await settled(system)
    const before = cpuOf(system.processes)
    const own = process.cpuUsage()
    const { collector } = system.processes
    const course: number[] = []
    const watch = setInterval(() => course.push(residentMiB(collector, 'VmRSS')), MEMORY_MS)
    const from = performance.now()
    const loaded = new AbortController()
    const longSearches = searching === undefined ? 0 : system.searchLong!(loaded.signal)
    const load = await send({
      ...target(system),
      connections: Number(connections),
      frames: Number(frames),
      seconds: Number(seconds),
      first: 1,
    })
    loaded.abort()
    const ownUs = process.cpuUsage(own)
    const longSearched = await longSearches
    await settled(system)
    clearInterval(watch)
    const stored = (performance.now() - from - (system.idleMs ?? 0)) / 1000
    const spans = load.acknowledged.length * FRAME_SPANS
    const after = cpuOf(system.processes)
    const searches = SEARCHES[system.dialect]
    const ms: number[] = []
    let found = 0
    for (let i = 0; i < searches; i++) {
      const frame = load.acknowledged[Math.floor((i * load.acknowledged.length) / searches)]!
      const asked = performance.now()
      if (await system.finds(uniqueValue(frame, 0)!)) found++
      ms.push(performance.now() - asked)
    }
    ms.sort((a, b) => a - b)
    const memory = { largest: residentMiB(collector, 'VmHWM'), course }
    // This may end the collector.
    const back = await system.countBack(load.acknowledged)
    const bytes = await system.bytes?.()
    process.stdout.write(
      `${JSON.stringify({
        spans,
        tryLater: load.tryLater,
        acknowledgedPerSecond: spans / load.seconds,
        storedPerSecond: back / stored,
        p50: load.p50,
        p99: load.p99,
        generatorUs: (ownUs.user + ownUs.system) / spans,
        cpuUs: Object.fromEntries(
          Object.keys(after).map(what => [what, ((after[what]! - before[what]!) * 1000) / spans]),
        ),
        memory,
        longSearched,
        found: found / searches,
        searchMs: ms[searches >> 1],
        lost: spans - back,
        bytesPerSpan: bytes === undefined ? undefined : bytes / (spans + warm.acknowledged.length * FRAME_SPANS),
      })}\n`,
    )
  } finally {
    await system.stop()
  }
}

const target = ({ port, dialect }: System) => ({ port, dialect })

void main().then(
  () => process.exit(0),
  error => {
    console.error(error)
    process.exit(1)
  },
)
