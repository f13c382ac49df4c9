import { setImmediate } from 'node:timers/promises'

/** What one piece of work may take at a time while others wait, in ms. */
const TURN_MS = 4

/**
 * Divides long work into turns, so that what has to be answered at once waits for milliseconds:
 * `if (turns.over()) await turns.next()`.
 */
export class Turns {
  private readonly mayGoOn: () => void
  private endMs = performance.now() + TURN_MS

  /** @param mayGoOn throws when the work is to be given up; called at the start of each turn but the first */
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
}
