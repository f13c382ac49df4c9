/** Counts memory for one purpose against a limit. Its owner decides what happens at the limit. */
export class ByteBudget {
  readonly maxBytes: number
  usedBytes = 0
  private readonly gauge: { set(bytes: number): void } | undefined

  constructor(maxBytes: number, gauge?: { set(bytes: number): void }) {
    this.maxBytes = maxBytes
    this.gauge = gauge
  }

  get freeBytes(): number {
    return this.maxBytes - this.usedBytes
  }

  /** @param bytes negative to give memory back */
  take(bytes: number): void {
    this.usedBytes += bytes
    this.gauge?.set(this.usedBytes)
  }
}
