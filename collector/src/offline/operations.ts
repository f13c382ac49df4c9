import { OTHER } from '../store/activity/model'
import { hashOf } from './examples'

/** A service and a name. There is one object for both, so that it can be the key of a map. */
export interface Operation {
  readonly service: string | null
  readonly name: string
  /** The same in all processes. */
  readonly hash: number
  /** Whether there are digits in its words, as in names that hold an id: these give way first when there are too many. */
  readonly hasDigits: boolean
}

/** The operations that were met. */
export class Operations {
  size = 0
  private readonly byService = new Map<string | null, Map<string, Operation>>()

  of(service: string | null, name: string): Operation {
    const known = this.byService.get(service)?.get(name)
    if (known !== undefined) return known
    const operation = {
      service,
      name,
      hash: hashOf(`${service ?? ''}\0${name}`),
      hasDigits: /\d/.test(name) || (service !== null && /\d/.test(service)),
    }
    this.put(operation)
    return operation
  }

  /** Forgets all others. */
  keepOnly(kept: Iterable<Operation>): void {
    this.byService.clear()
    this.size = 0
    for (const operation of kept)
      if (this.byService.get(operation.service)?.get(operation.name) === undefined) this.put(operation)
  }

  private put(operation: Operation): void {
    let names = this.byService.get(operation.service)
    if (names === undefined) this.byService.set(operation.service, (names = new Map()))
    names.set(operation.name, operation)
    this.size++
  }
}

export const OTHER_OPERATION: Operation = { service: null, name: OTHER, hash: 0, hasDigits: false }

/** Orders operations by which keep their names when there are too many. */
export function byNeed(a: Operation, b: Operation): number {
  return Number(a.hasDigits) - Number(b.hasDigits) || a.hash - b.hash || byName(a, b)
}

export function byName(a: Operation, b: Operation): number {
  if (a.service !== b.service) return (a.service ?? '') < (b.service ?? '') ? -1 : 1
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0
}
