import { setImmediate } from 'node:timers/promises'

/** How long one turn may take while other work waits. */
const TURN_MS = 4

/**
 * Divides long work into turns, so that other requests wait only for milliseconds: `if (turns.over()) await turns.next()`.
 */
export class Turns {
  private readonly mayGoOn: () => void
  private endMs = performance.now() + TURN_MS

  /** @param mayGoOn called at the start of each turn but the first; throws to abort the work */
  constructor(mayGoOn: () => void = () => {}) {
    this.mayGoOn = mayGoOn
  }

  over(): boolean {
    return performance.now() > this.endMs
  }

  async next(): Promise<void> {
    await setImmediate()
    this.mayGoOn()
    this.endMs = performance.now() + TURN_MS
  }

  /** Takes all steps of a generator, and looks at the clock after every so many. @returns what the generator returns */
  async take<R>(steps: Iterator<unknown, R>, between = 1): Promise<R> {
    for (let i = 1; ; i++) {
      const step = steps.next()
      if (step.done) return step.value
      if (i % between === 0 && this.over()) await this.next()
    }
  }
}

/** Takes all steps of a generator in one turn. @returns what the generator returns */
export function takeAtOnce<R>(steps: Iterator<unknown, R>): R {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}
