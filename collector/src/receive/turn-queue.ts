/** The time after which the queue lets sockets and HTTP run. */
const TURNS_MS = 10

interface TurnTaker {
  /** Takes one step of the work. Returns whether there is more. */
  turn(): boolean
}

/** Lets connections with frames to read take turns, so that none waits for everything that another has sent. */
export class TurnQueue {
  private readonly waiting: TurnTaker[] = []

  add(taker: TurnTaker): void {
    // Run after all readable sockets have been read: then small frames of many connections share a commit.
    if (this.waiting.push(taker) === 1) setImmediate(this.takeTurns)
  }

  private readonly takeTurns = (): void => {
    const until = performance.now() + TURNS_MS
    for (;;) {
      const taker = this.waiting.shift()
      if (taker === undefined) return
      if (taker.turn()) this.waiting.push(taker)
      if (this.waiting.length > 0 && performance.now() > until) {
        setImmediate(this.takeTurns)
        return
      }
    }
  }
}
