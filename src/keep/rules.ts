import { builtin } from '../process/builtin'

const MAX_RULES = 256
const MAX_NAMES = 1_000
const MAX_LEFT = 1_000
const MAX_REQUESTS = 32
const LIFETIME_MS = 3_600_000
/** Older collectors don't number requests. Then what comes again so soon is the same one, told by another collector for example. */
const SAME_MS = 10_000

/** What the feed has of an operation: the first six bytes of its number, in hex. */
const OPERATION_DIGITS = 12

export interface Rule {
  /** How many traces are still to be kept. */
  left: number
  /** When they were asked for last. */
  cameMs: number
  /** When it was told last, perhaps again. */
  toldMs: number
  /** The numbers of the requests, the latest last. */
  requests: number[]
}

/** "Keep the next n traces of this operation", as the feed says it: an operation is a hash of service and name. */
export class Rules {
  /** Whether there is any rule to look for. */
  any = false
  readonly service: string
  private readonly byOperation = new Map<string, Rule>()
  /** What has been looked for since the last rule came. */
  private readonly byName = new Map<string, Rule | undefined>()

  constructor(service: string) {
    this.service = service
  }

  /**
   * @param id the operation's number, in hex
   * @param n how many traces more are to be kept
   * @param request tells requests apart; undefined: this isn't known
   */
  add(id: string, n: number, nowMs: number, request?: number): void {
    const operation = id.slice(0, OPERATION_DIGITS)
    const rule = this.byOperation.get(operation) ?? this.begin(operation)
    const isSame = request === undefined ? nowMs - rule.toldMs < SAME_MS : rule.requests.includes(request)
    if (request !== undefined || !isSame) rule.toldMs = nowMs
    if (isSame) return
    if (request !== undefined) rule.requests.push(request)
    if (rule.requests.length > MAX_REQUESTS) rule.requests.shift()
    rule.left = Math.min(MAX_LEFT, (nowMs - rule.cameMs <= LIFETIME_MS ? rule.left : 0) + n)
    rule.cameMs = nowMs
    this.any = true
  }

  /** The rule for spans of this name, if there is one that isn't used up. */
  find(name: string, nowMs: number): Rule | undefined {
    let rule = this.byName.get(name)
    if (rule === undefined && !this.byName.has(name)) {
      rule = this.byOperation.get(this.operationOf(name))
      if (this.byName.size === MAX_NAMES) this.byName.clear()
      this.byName.set(name, rule)
    }
    return rule !== undefined && rule.left > 0 && nowMs - rule.cameMs <= LIFETIME_MS ? rule : undefined
  }

  /** A trace has been kept for it. */
  use(rule: Rule): void {
    if (--rule.left > 0) return
    this.any = false
    for (const { left } of this.byOperation.values()) if (left > 0) this.any = true
  }

  private begin(operation: string): Rule {
    const { byOperation } = this
    if (byOperation.size === MAX_RULES) byOperation.delete(byOperation.keys().next().value!)
    const never = Number.NEGATIVE_INFINITY
    const rule: Rule = { left: 0, cameMs: never, toldMs: never, requests: [] }
    byOperation.set(operation, rule)
    this.byName.clear()
    return rule
  }

  private operationOf(name: string): string {
    const { createHash } = builtin('node:crypto', () => require('node:crypto'))
    return createHash('sha256').update(`${this.service}\0${name}`).digest('hex').slice(0, OPERATION_DIGITS)
  }
}
