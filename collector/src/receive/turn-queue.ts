/** How long turns go on before sockets and HTTP have theirs. */
const TURNS_MS = 10

/** Takes one step of its work; returns whether there is more. */
interface TurnTaker {
  turn(): boolean
}

/** Connections with frames to read take turns, so that none waits for all that another has sent. */
export class TurnQueue {
  private readonly waiting: TurnTaker[] = []

  add(taker: TurnTaker): void {
    // After all sockets that are readable now have been read: small frames of many are there for the same commit.
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
