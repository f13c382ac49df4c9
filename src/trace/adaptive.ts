import { clock } from '../process/genuine'
import { NOT_KEPT, type Sampler, type SamplingRates } from './sampler'

/**
 * Keeps about `tracesPerSecond` new traces a second whatever the load, and rare operations whole.
 *
 *      arrivals ──▶ rate of each operation ──▶ level L: Σ min(rate, L) = target ──▶ p = min(1, L / rate)
 *          ▲                                                                            │
 *          └── a tick ends after 1 s, or at once when more is kept than was meant ◀─────┘
 *
 * Whatever moves p (the tick, a burst, pressure from downstream) has moved it before the coin is tossed, and the p that
 * was tossed with is what is recorded: Σ 1/p over the kept traces is an unbiased count of all of them at any time.
 *
 * Nothing here has a timer: the first decision after a tick ends it. docs/sampling.md has the measured figures.
 * From: Dapper's report, section 4.4 (p recorded with the trace); Jaeger's adaptive sampling (a target for each operation).
 */

/** An operation's own share: a fixed probability, or a target of its own beside the common one. */
export type OperationSampling =
  | { probability: number; tracesPerSecond?: undefined }
  | { probability?: undefined; tracesPerSecond: number }

interface AdaptiveOptions {
  tracesPerSecond: number
  operations?: Record<string, OperationSampling>
  /** Milliseconds, by a clock that should be monotonic. */
  now?: () => number
}

/** Operations that have a rate of their own, beside those with an override. All others share one. */
const MAX_OPERATIONS = 200
/** A longer name isn't remembered. */
const MAX_NAME_LENGTH = 256
/** How long an idle operation is remembered: after its first call, and after further ones. */
const FORGET_ONCE_S = 30
const FORGET_S = 300
/** A rate isn't read from a shorter time: a burst of a moment says little about the second that follows. */
const MIN_SECONDS = 0.02
/** The lowest factor for one tick. A squeeze is lifted in one step, because it also thins out rare operations. */
const MIN_SQUEEZE = 1 / 3
/** A kept trace counts as 1/p traces: a weight above 10^9 would spoil any count. */
const MIN_PROBABILITY = 1e-9

/** Pressure up to this is normal: the buffer fills and is emptied. */
const NO_PRESSURE = 0.25
/** The part of the target that stays under lasting pressure, and the factor by which it grows back in each second. */
const MIN_SHARE = 1 / 64
const RECOVERY = 1.5

class Operation {
  /** The probability to decide with, a float32; 0 is never. */
  p = 1
  /** Calls per second, as learned. */
  rate = 0
  /** Calls in this tick. */
  arrivals = 0
  /** Decisions until the clock is read again. */
  unclocked = 0
  idleS = 0
  cameAgain = false
  readonly budget: Budget
  /**
   * Whether it is the operation that new and unknown names share. A squeeze leaves it alone: the first call of a rare operation
   * mustn't suffer, and a flood of names is bounded by its rate.
   */
  readonly isShared: boolean

  constructor(budget: Budget, isShared = false) {
    this.budget = budget
    this.isShared = isShared
    budget.members.push(this)
  }
}

/** Traces per second, and the operations that share them. */
class Budget {
  /** Infinite for a fixed probability. */
  readonly target: number
  readonly maxProbability: number
  members: Operation[] = []
  /** Calls per second above which an operation is thinned out. */
  level = Number.POSITIVE_INFINITY
  /** Counts of the current tick. */
  kept = 0
  /** How much more than was meant may be kept in this tick before it ends. */
  allowance: number
  /** The factor by which p is lowered for the rest of a second, in a burst that no operation's rate explains. */
  squeeze = 1

  constructor(target: number, maxProbability = 1) {
    this.target = target
    this.maxProbability = maxProbability
    this.allowance = wideAllowance(target)
  }
}

/** How far chance alone exceeds the target in one second of a hundred (wide) or of ten (narrow, after a burst). A tick that ends early costs only µs. */
const wideAllowance = (target: number) => 2 + 2.5 * Math.sqrt(target)
const narrowAllowance = (target: number) => 1 + Math.sqrt(target)

export class AdaptiveSampler implements Sampler {
  private readonly now: () => number
  private readonly operations = new Map<string, Operation>()
  private readonly common: Budget
  private readonly budgets: Budget[]
  /** Takes each operation's first call, and all calls of operations without a slot: a flood of names is one operation. */
  private readonly shared: Operation
  private freeSlots = MAX_OPERATIONS
  /** NaN until the first decision, which begins the first tick. */
  private tickStartMs = Number.NaN
  /** The part of the targets that pressure has left, from 0 to 1. */
  private share = 1
  /** Counts since `startedPerSecond` and `keptPerSecond` were updated. */
  private seconds = 0
  private started = 0
  private kept = 0
  private startedPerSecond = 0
  private keptPerSecond = 0

  constructor({ tracesPerSecond, operations = {}, now = () => clock.now() }: AdaptiveOptions) {
    this.now = now
    this.common = new Budget(tracesPerSecond)
    this.shared = new Operation(this.common, true)
    this.budgets = [this.common]
    for (const [name, own] of Object.entries(operations)) {
      const budget =
        own.probability === undefined
          ? new Budget(own.tracesPerSecond)
          : new Budget(Number.POSITIVE_INFINITY, own.probability)
      this.budgets.push(budget)
      this.operations.set(name, new Operation(budget))
    }
    this.assign()
  }

  sample(name: string, randomness: number): number {
    const operation = this.operations.get(name) ?? this.newcomer(name)
    if (--operation.unclocked < 0) {
      const nowMs = this.now()
      if (Number.isNaN(this.tickStartMs)) this.tickStartMs = nowMs
      // The tick ends also when the clock was set back, or gives no number.
      if (!(nowMs - this.tickStartMs < 1000 && nowMs >= this.tickStartMs)) this.endTick(nowMs)
      // A look at the clock costs twice the rest: a busy operation does with one in some 10 ms, at its learned rate.
      operation.unclocked = Math.min(15, Math.floor(operation.rate / 100))
    }
    operation.arrivals++
    const { p } = operation
    if (p === 0 || randomness < 1 - p) return NOT_KEPT
    this.kept++
    const { budget } = operation
    if (++budget.kept > budget.allowance) this.checkBudget(budget)
    return p
  }

  adjust(pressure: number): void {
    if (!(pressure > NO_PRESSURE)) return
    const ceiling = Math.max(MIN_SHARE, (1 - pressure) / (1 - NO_PRESSURE))
    if (this.share <= ceiling) return
    // It falls by half at most: pressure that passes costs little, and lasting pressure is obeyed in a few calls.
    this.share = Math.max(ceiling, this.share / 2)
    for (const budget of this.budgets) budget.level = levelOf(budget.members, budget.target * this.share)
    this.assign()
  }

  rates(): SamplingRates {
    const nowMs = this.now()
    if (nowMs - this.tickStartMs >= 1000) this.endTick(nowMs)
    const { level } = this.common
    return {
      operations: this.operations.size,
      level: level === Number.POSITIVE_INFINITY ? null : level,
      share: this.share,
      startedPerSecond: this.startedPerSecond,
      keptPerSecond: this.keptPerSecond,
    }
  }

  /** Decides an operation's first call by the shared rate. From the next call on it has a rate of its own, if a slot is free. */
  private newcomer(name: string): Operation {
    if (this.freeSlots > 0 && name.length <= MAX_NAME_LENGTH) {
      this.freeSlots--
      const operation = new Operation(this.common)
      operation.p = this.shared.p
      this.operations.set(name, operation)
    }
    return this.shared
  }

  private checkBudget(budget: Budget): void {
    const nowMs = this.now()
    const meant = (budget.target * this.share * (nowMs - this.tickStartMs)) / 1000
    if (!(budget.kept <= budget.allowance + meant)) this.endTick(nowMs)
  }

  /** Learns the rates, and decides by them until the next tick ends. A tick of less than a second had a burst. */
  private endTick(nowMs: number): void {
    const seconds = (nowMs - this.tickStartMs) / 1000
    this.tickStartMs = nowMs
    // A clock that was set back doesn't tell how long the tick was: what was learned before stays.
    if (seconds >= 0) {
      this.share = Math.min(1, this.share * RECOVERY ** seconds)
      for (const budget of this.budgets) redistribute(budget, budget.target * this.share, seconds)
      this.note(seconds)
      if (seconds >= 1) this.forgetIdle()
      this.assign()
    }
    for (const budget of this.budgets) {
      budget.kept = 0
      for (const operation of budget.members) operation.arrivals = 0
    }
  }

  private note(seconds: number): void {
    this.seconds += seconds
    for (const { members } of this.budgets) for (const { arrivals } of members) this.started += arrivals
    if (this.seconds < 1) return
    this.startedPerSecond = this.started / this.seconds
    this.keptPerSecond = this.kept / this.seconds
    this.seconds = this.started = this.kept = 0
  }

  private forgetIdle(): void {
    const { common, operations } = this
    for (const [name, { budget, idleS, cameAgain }] of operations) {
      if (budget === common && idleS > (cameAgain ? FORGET_S : FORGET_ONCE_S)) {
        operations.delete(name)
        this.freeSlots++
      }
    }
    if (common.members.length - 1 > MAX_OPERATIONS - this.freeSlots) {
      common.members = [this.shared]
      for (const operation of operations.values()) if (operation.budget === common) common.members.push(operation)
    }
  }

  /** Computes each operation's p in advance, so that a decision only compares numbers. */
  private assign(): void {
    for (const budget of this.budgets) {
      const highest = budget.target === Number.POSITIVE_INFINITY ? budget.maxProbability * this.share : 1
      for (const operation of budget.members) {
        const p = highest * probability(operation)
        operation.p = Math.fround(p > 0 ? Math.max(p, MIN_PROBABILITY) : 0)
      }
    }
  }
}

function redistribute(budget: Budget, target: number, seconds: number): void {
  const { members } = budget
  const gain = 1 - 0.75 ** Math.max(seconds, MIN_SECONDS)
  for (const operation of members) learn(operation, seconds, gain)
  budget.level = levelOf(members, target)
  if (seconds >= 1) {
    budget.squeeze = 1
    budget.allowance = wideAllowance(target)
    return
  }
  // What the new rates would have kept of this tick: if that is too much as well, the burst isn't a single operation's.
  let kept = 0
  for (const operation of members) kept += operation.arrivals * probability(operation)
  const meant = target * Math.max(seconds, MIN_SECONDS)
  if (kept > 1 + 2 * meant) budget.squeeze *= Math.max(MIN_SQUEEZE, meant / kept)
  budget.allowance = narrowAllowance(target)
}

function learn(operation: Operation, seconds: number, gain: number): void {
  const { rate, arrivals } = operation
  const expected = rate * seconds
  const seen = arrivals / Math.max(seconds, MIN_SECONDS)
  const jumped = Math.abs(arrivals - expected) > 4 * Math.sqrt(Math.max(expected, 1))
  if (!jumped) operation.rate += gain * (seen - rate)
  else operation.rate = arrivals > expected ? Math.max(seen, rate) : seen
  if (arrivals === 0) operation.idleS += seconds
  else {
    operation.idleS = 0
    operation.cameAgain = true
  }
}

/** The water level: where Σ min(rate, level) is the target. Infinite when there is enough for all. */
function levelOf(members: Operation[], target: number): number {
  const rates = Float64Array.from(members, ({ rate }) => rate).sort()
  let left = target
  for (let i = 0; i < rates.length; i++) {
    const equal = left / (rates.length - i)
    if (rates[i]! > equal) return equal
    left -= rates[i]!
  }
  return Number.POSITIVE_INFINITY
}

function probability({ rate, isShared, budget: { level, squeeze } }: Operation): number {
  return (rate <= level ? 1 : level / rate) * (isShared ? 1 : squeeze)
}
