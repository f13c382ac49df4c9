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
}
