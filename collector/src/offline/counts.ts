/** Counts of a line program, by name. */
export type Counts = Record<string, number>

const REPORT_MS = 5000
/** How many calls of now() there are for a look at the clock. */
const BETWEEN_LOOKS = 256

/**
 * Tells how far a line program is, on standard error. Hadoop Streaming adds up lines `reporter:counter:GROUP,NAME,N` to the job's
 * counters, and takes a task that says nothing for too long for dead.
 */
export class Reporter {
  private readonly program: string
  private readonly counts: () => Counts
  private readonly write: (text: string) => void
  private reported: Counts = {}
  private calls = 0
  private nextMs = performance.now() + REPORT_MS

  /** @param program the first part of the counters' names */
  constructor(program: string, counts: () => Counts, write: (text: string) => void) {
    this.program = program
    this.counts = counts
    this.write = write
  }

  /** To be called often. */
  now(): void {
    if (++this.calls % BETWEEN_LOOKS !== 0) return
    const nowMs = performance.now()
    if (nowMs < this.nextMs) return
    this.nextMs = nowMs + REPORT_MS
    this.report()
  }

  /** Reports what hasn't been reported yet. */
  report(): void {
    const counts = this.counts()
    for (const [name, count] of Object.entries(counts)) {
      const more = count - (this.reported[name] ?? 0)
      if (more !== 0) this.write(`reporter:counter:milo,${this.program}.${name},${more}\n`)
    }
    this.reported = { ...counts }
  }
}

/** Says counts in words: "brokenLines: 3" is "broken lines: 3". Those that are 0 are left out. */
export function countsInWords(counts: Counts): string {
  const some = Object.entries(counts).filter(([, count]) => count !== 0)
  const words = (name: string) => name.replace(/[A-Z]/g, capital => ` ${capital.toLowerCase()}`)
  return some.length === 0 ? 'nothing was read' : some.map(([name, count]) => `${words(name)}: ${count}`).join(', ')
}
