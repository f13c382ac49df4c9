const MAX_RULES = 256
const MAX_NAMES = 1_000
const LIFETIME_MS = 3_600_000
/** A feed may tell the same thing again: after a change of collectors, for example. */
const SAME_MS = 10_000

export interface Rule {
  /** How many traces are still to be kept. */
  left: number
  cameMs: number
}

/** "Keep the next n traces of this operation", as the feed says it: an operation is a hash of service and name. */
export class Rules {
  private readonly service: string
  private readonly byHash = new Map<string, Rule>()
  /** What has been looked for since the last rule came. */
  private readonly byName = new Map<string, Rule | undefined>()

  constructor(service: string) {
    this.service = service
  }

  /** @param hash in hex */
  add(hash: string, n: number, nowMs: number): void {
    const known = this.byHash.get(hash)
    if (known !== undefined && nowMs - known.cameMs < SAME_MS) return
    this.byHash.delete(hash)
    if (this.byHash.size === MAX_RULES) this.byHash.delete(this.byHash.keys().next().value!)
    this.byHash.set(hash, { left: n, cameMs: nowMs })
    this.byName.clear()
  }

  /** Whether there is any rule to look for. */
  get any(): boolean {
    return this.byHash.size > 0
  }

  /** The rule for spans of this name, if there is one that isn't used up. Its `left` counts down the traces that are kept for it. */
  find(name: string, nowMs: number): Rule | undefined {
    let rule = this.byName.get(name)
    if (rule === undefined && !this.byName.has(name)) {
      rule = this.byHash.get(this.hashOf(name))
      if (this.byName.size === MAX_NAMES) this.byName.clear()
      this.byName.set(name, rule)
    }
    return rule !== undefined && rule.left > 0 && nowMs - rule.cameMs <= LIFETIME_MS ? rule : undefined
  }

  private hashOf(name: string): string {
    const { createHash } = require('node:crypto') as typeof import('node:crypto')
    return createHash('sha256').update(`${this.service}\0${name}`).digest('hex').slice(0, 16)
  }
}
