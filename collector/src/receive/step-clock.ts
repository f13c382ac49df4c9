/** The time after which reading a call yields to other connections. */
const STEP_MS = 2

/** Tells when a step has taken long enough. It reads the time in one of 64 calls. */
export class StepClock {
  private until = performance.now() + STEP_MS
  private calls = 0

  over(): boolean {
    return (++this.calls & 63) === 0 && this.late()
  }

  /** Like `over`, after work that takes longer than reading the time. */
  late(): boolean {
    return performance.now() > this.until
  }

  *rest(): Generator<void, void> {
    yield
    this.until = performance.now() + STEP_MS
  }
}
