import type { ReadActivity } from '../../collector/src/api/activity/sums'
import { type Counter, Weight } from '../../collector/src/store/activity/counter'
import { type EdgeKey, MINUTE_US, type OperationKey } from '../../collector/src/store/activity/model'
import {
  counterOf,
  type Delta,
  edgeKey,
  edgeOf,
  operationKey,
  operationOf,
} from '../../collector/src/store/activity/rows'
import { dice } from '../collector/store/activity/dice'

export interface Call {
  /** Microseconds since the epoch. */
  at?: number
  /** How many such calls. */
  times?: number
  durationUs?: number
  failed?: boolean
  isRoot?: boolean
  /** The sampling probability. */
  p?: number
  /** Each call is of another trace unless it is given. */
  trace?: number
}

/** Counters by minute, in memory: what a store answers, for tests of what is made of it. */
export class MemoryActivity {
  readonly minutes: Delta = new Map()
  /** How many times it was read. */
  reads = 0
  private readonly roll = dice(7)

  operation(key: Partial<OperationKey>, call: Call = {}): this {
    const name = operationKey({ service: 'shop', name: 'Shop.buy', side: 'server', ...key })
    return this.count('operations', name, call)
  }

  edge(key: Partial<EdgeKey>, call: Call = {}): this {
    const all = { caller: 'web', callerName: 'GET /buy', callee: 'shop', calleeName: 'Shop.buy', ...key }
    return this.count('edges', edgeKey(all), call)
  }

  readonly read: ReadActivity = async ({ fromUs, toUs, kinds, service }, visit) => {
    this.reads++
    const [first, end] = [Math.floor(fromUs / MINUTE_US), Math.ceil(toUs / MINUTE_US)]
    for (const [minute, { operations, edges }] of this.minutes) {
      if (minute < first || minute >= end) continue
      for (const kind of kinds) {
        for (const [key, counter] of kind === 'operations' ? operations : edges) {
          const owner =
            kind === 'operations' ? operationOf(key).service : edgeOf(key)[kind === 'calls' ? 'caller' : 'callee']
          if (service === undefined || service === owner) {
            visit({ kind, minute, key, addTo: to => to.merge(counter) })
          }
        }
      }
    }
  }

  private count(kind: 'operations' | 'edges', key: string, call: Call): this {
    const { at = MINUTE_US, times = 1, durationUs = 1000, failed = false, isRoot = false, p = 1 } = call
    const minute = Math.floor(at / MINUTE_US)
    let counters = this.minutes.get(minute)
    if (counters === undefined) this.minutes.set(minute, (counters = { operations: new Map(), edges: new Map() }))
    const counter: Counter = counterOf(counters[kind], key)
    const weight = new Weight().set(p)
    for (let i = 0; i < times; i++) {
      const trace = call.trace ?? Math.floor(this.roll() * 2 ** 31)
      counter.add(weight, trace & 31, isRoot, failed, durationUs)
      counter.show(0, trace, at, durationUs, failed)
    }
    return this
  }
}
