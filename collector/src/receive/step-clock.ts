/** How long one step of reading a call may take before another connection has its turn. */
const STEP_MS = 2

/** Tells when a step has taken long enough. It reads the time only now and then. */
export class StepClock {
  private until = performance.now() + STEP_MS
  private looks = 0

  over(): boolean {
    return (++this.looks & 63) === 0 && this.late()
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
