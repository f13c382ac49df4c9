/** Memory that may be taken for one purpose. When none is left, each owner has an answer of its own. */
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

  /** @param bytes negative to give them back */
  take(bytes: number): void {
    this.usedBytes += bytes
    this.gauge?.set(this.usedBytes)
  }
}
