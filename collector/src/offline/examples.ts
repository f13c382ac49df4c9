import type { Exemplar } from '../http/answers'

/** A span that is shown as an example: the trace's id, its start in microseconds since the epoch, and its duration or null. */
type Example = [traceId: string, startUs: number, durationUs: number | null]

/** How many traces are kept to choose a typical one from. */
const SAMPLED = 4

/**
 * Examples of calls: the slowest, the failed one that began last, and a typical one, which is that of a fair sample of traces that is
 * nearest to the median. They don't depend on the order in which calls come.
 */
export class Examples {
  private slow: Example | undefined
  private failed: Example | undefined
  /** Those whose trace ids have the least hashes, in that order. */
  private sample: Example[] = []
  /** The greatest of their hashes, once there are enough. */
  private last = Number.POSITIVE_INFINITY

  /** @param durationUs NaN if it isn't known */
  offer(traceId: string, startUs: number, durationUs: number, isError: boolean): void {
    const example: Example = [traceId, startUs, Number.isNaN(durationUs) ? null : durationUs]
    if (this.slow === undefined || isSlower(example, this.slow)) this.slow = example
    if (isError && (this.failed === undefined || isLater(example, this.failed))) this.failed = example
    this.choose(example)
  }

  merge({ slow, failed, sample }: Examples): void {
    if (slow !== undefined && (this.slow === undefined || isSlower(slow, this.slow))) this.slow = slow
    if (failed !== undefined && (this.failed === undefined || isLater(failed, this.failed))) this.failed = failed
    for (const example of sample) this.choose(example)
  }

  /** @param medianUs undefined if no duration is known */
  list(medianUs: number | undefined): Exemplar[] {
    const [typical] = [...this.sample].sort((a, b) => distance(a, medianUs) - distance(b, medianUs))
    const all = [
      ['slow', this.slow],
      ['failed', this.failed],
      ['typical', typical],
    ] as const
    return all.flatMap(([kind, example]) => {
      if (example === undefined) return []
      const [traceId, start, duration] = example
      return [{ traceId, start, duration, kind }]
    })
  }

  toJSON(): unknown {
    return [this.slow ?? null, this.failed ?? null, this.sample]
  }

  /** Reads what toJSON() gave. @throws RangeError if it isn't that */
  static read(json: unknown): Examples {
    const examples = new Examples()
    const [slow, failed, sample] = json as [unknown, unknown, unknown[]]
    if (slow !== null) examples.slow = exampleOf(slow)
    if (failed !== null) examples.failed = exampleOf(failed)
    for (const example of sample) examples.choose(exampleOf(example))
    return examples
  }

  private choose(example: Example): void {
    const { sample } = this
    const hash = hashOf(example[0])
    if (hash > this.last) return
    const same = sample.findIndex(([traceId]) => traceId === example[0])
    if (same === -1) sample.push(example)
    else if (isSlower(example, sample[same]!)) sample[same] = example
    else return
    sample.sort(([a], [b]) => hashOf(a) - hashOf(b) || (a < b ? -1 : 1))
    if (sample.length > SAMPLED) sample.pop()
    if (sample.length === SAMPLED) this.last = hashOf(sample.at(-1)![0])
  }
}

function exampleOf(json: unknown): Example {
  const [traceId, startUs, durationUs] = json as Example
  if (typeof traceId !== 'string' || typeof startUs !== 'number') throw new RangeError('not an example')
  if (durationUs !== null && typeof durationUs !== 'number') throw new RangeError('not an example')
  return [traceId, startUs, durationUs]
}

/** Of equally slow ones the later one counts, then that with the greater id. */
function isSlower(a: Example, b: Example): boolean {
  const [slow, other] = [a[2] ?? -1, b[2] ?? -1]
  return slow !== other ? slow > other : isLater(a, b)
}

function isLater(a: Example, b: Example): boolean {
  if (a[1] !== b[1]) return a[1] > b[1]
  return a[0] !== b[0] ? a[0] > b[0] : (a[2] ?? -1) > (b[2] ?? -1)
}

function distance([, , durationUs]: Example, medianUs: number | undefined): number {
  if (durationUs === null) return Number.MAX_VALUE
  return medianUs === undefined ? 0 : Math.abs(durationUs - medianUs)
}

/** Ids are random as a rule; a sampler may keep those with some bits. */
export function hashOf(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
  return (hash ^ (hash >>> 13)) >>> 0
}
