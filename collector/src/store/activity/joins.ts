import {
  CLIENT,
  CONSUMER,
  FLAGS,
  HASH,
  ID,
  KIND,
  NAME,
  NEXT,
  PARENT,
  PEER,
  PRODUCER,
  type Rows,
  SERVER,
  SERVICE,
  spreadOf,
} from './halves'

/** Columns for the time of a join. OPERATION takes the place of the list that led to the rows. */
const NEXT_OF_ID = 22
const NEXT_OF_PARENT = 23
const OPERATION = NEXT
const UNKNOWN_YET = -1
const IN_WORK = -2

/**
 * Finds the edge of each record of a trace: from which operation to which it was a call. An edge follows from the set of all
 * records that are known, in whichever order they came, so that it can be taken back and counted anew when another one comes.
 *
 *     client       edge to the server half with its own id (Milo, Zipkin);
 *                  or to the server half whose parent it is, if that has no client half with its own id (OpenTelemetry);
 *                  or to the peer that it names
 *     server       edge from the peer that it names, if it is a root without a client half
 *     producer     edge to the broker that it names
 *     consumer     edge from the broker that it names
 *
 * If a half was reported in several ways, the one with the least hash is the other half of all.
 */
export class Joins {
  /** The edge that edgeOf() has found: words, as in the columns of a row. */
  callerName = 0
  other = 0
  calleeName = 0
  private readonly rows: Rows
  private i32: Int32Array
  /** Offsets of rows by id, and of server halves by their parent's id; −1 in empty slots. */
  private byId = new Int32Array(64)
  private byParent = new Int32Array(64)
  private mask = 0
  private path = new Int32Array(64)

  constructor(rows: Rows) {
    this.rows = rows
    this.i32 = rows.i32
  }

  /** @param members offsets of the trace's rows */
  begin(members: Int32Array, count: number): void {
    this.i32 = this.rows.i32
    const { i32 } = this
    let slots = 8
    while (slots < 2 * count) slots *= 2
    if (this.byId.length < slots) {
      this.byId = new Int32Array(slots)
      this.byParent = new Int32Array(slots)
      this.path = new Int32Array(slots)
    }
    this.mask = slots - 1
    this.byId.fill(-1, 0, slots)
    this.byParent.fill(-1, 0, slots)
    for (let m = 0; m < count; m++) {
      const at = members[m]!
      i32[at + OPERATION] = UNKNOWN_YET
      const slot = this.slotOf(this.byId, ID, i32[at + ID]!, i32[at + ID + 1]!)
      i32[at + NEXT_OF_ID] = this.byId[slot]!
      this.byId[slot] = at
      if ((i32[at + FLAGS]! & KIND) !== SERVER || isRoot(i32, at)) continue
      const parentSlot = this.slotOf(this.byParent, PARENT, i32[at + PARENT]!, i32[at + PARENT + 1]!)
      i32[at + NEXT_OF_PARENT] = this.byParent[parentSlot]!
      this.byParent[parentSlot] = at
    }
  }

  /** @returns whether the record has an edge */
  edgeOf(at: number): boolean {
    const { i32 } = this
    const kind = i32[at + FLAGS]! & KIND
    const peer = i32[at + PEER]!
    this.callerName = 0
    this.other = peer
    this.calleeName = i32[at + NAME]!
    if (kind === CLIENT) {
      const server = this.serverOf(at)
      if (server !== -1) {
        this.other = i32[server + SERVICE]!
        this.calleeName = i32[server + NAME]!
      } else if (peer === 0) return false
      this.callerName = this.operationAbove(at)
      return true
    }
    if (peer === 0) return false
    if (kind === PRODUCER) this.callerName = this.operationAbove(at)
    else if (kind === SERVER) return isRoot(i32, at) && !this.hasClient(at)
    else return kind === CONSUMER
    return true
  }

  private serverOf(client: number): number {
    const { i32 } = this
    const [high, low] = [i32[client + ID]!, i32[client + ID + 1]!]
    let found = -1
    for (let at = this.byId[this.slotOf(this.byId, ID, high, low)]!; at !== -1; at = i32[at + NEXT_OF_ID]!) {
      if ((i32[at + FLAGS]! & KIND) === SERVER) found = this.least(found, at)
    }
    if (found !== -1) return found
    let at = this.byParent[this.slotOf(this.byParent, PARENT, high, low)]!
    for (; at !== -1; at = i32[at + NEXT_OF_PARENT]!) if (!this.hasClient(at)) found = this.least(found, at)
    return found
  }

  private hasClient(server: number): boolean {
    const { i32 } = this
    let at = this.byId[this.slotOf(this.byId, ID, i32[server + ID]!, i32[server + ID + 1]!)]!
    for (; at !== -1; at = i32[at + NEXT_OF_ID]!) if ((i32[at + FLAGS]! & KIND) === CLIENT) return true
    return false
  }

  /** Returns the name of the operation in whose course the record's span began; 0 if it isn't known. */
  private operationAbove(at: number): number {
    if (isRoot(this.i32, at)) return 0
    const parent = this.parentOf(at)
    return parent < 0 ? 0 : this.operationOf(parent)
  }

  /**
   * Returns the name of the operation to which a record belongs: of the nearest record, from itself upward and within its service,
   * that is a server half or a consumer, or has no parent in the service. 0 if the way there isn't known, or is a circle.
   */
  private operationOf(from: number): number {
    const { i32, path } = this
    let length = 0
    let found = 0
    for (let at = from; ; ) {
      const known = i32[at + OPERATION]!
      if (known !== UNKNOWN_YET) {
        found = known === IN_WORK ? 0 : known
        break
      }
      i32[at + OPERATION] = IN_WORK
      path[length++] = at
      const kind = i32[at + FLAGS]! & KIND
      const parent = kind === SERVER || kind === CONSUMER || isRoot(i32, at) ? ELSEWHERE : this.parentOf(at)
      if (parent === ELSEWHERE) found = i32[at + NAME]!
      if (parent < 0) break
      at = parent
    }
    for (let i = 0; i < length; i++) i32[path[i]! + OPERATION] = found
    return found
  }

  /** Returns the parent's record of the same service, its server half if there is one. */
  private parentOf(child: number): number {
    const { i32 } = this
    let found = NOWHERE
    let foundServer = false
    let at = this.byId[this.slotOf(this.byId, ID, i32[child + PARENT]!, i32[child + PARENT + 1]!)]!
    for (; at !== -1; at = i32[at + NEXT_OF_ID]!) {
      if (i32[at + SERVICE] !== i32[child + SERVICE]) {
        if (found === NOWHERE) found = ELSEWHERE
        continue
      }
      const server = (i32[at + FLAGS]! & KIND) === SERVER
      if (found < 0 || (server && !foundServer)) found = at
      else if (server === foundServer) found = this.least(found, at)
      foundServer ||= server
    }
    return found
  }

  private least(a: number, b: number): number {
    const { i32 } = this
    if (a === -1) return b
    const difference = i32[a + HASH]! - i32[b + HASH]!
    return difference < 0 || (difference === 0 && i32[a + HASH + 1]! < i32[b + HASH + 1]!) ? a : b
  }

  /** Returns the slot of an id in one of the tables: that which holds a row with it, or an empty one. */
  private slotOf(table: Int32Array, column: number, high: number, low: number): number {
    const { i32, mask } = this
    let slot = spreadOf(high, low) & mask
    for (;;) {
      const at = table[slot]!
      if (at === -1 || (i32[at + column + 1] === low && i32[at + column] === high)) return slot
      slot = (slot + 1) & mask
    }
  }
}

const NOWHERE = -1
const ELSEWHERE = -2

export function isRoot(i32: Int32Array, at: number): boolean {
  return i32[at + PARENT] === 0 && i32[at + PARENT + 1] === 0
}

/** Whether the record may have an edge, whatever else is known. */
export function mayHaveEdge(i32: Int32Array, at: number): boolean {
  const kind = i32[at + FLAGS]! & KIND
  return (
    kind === CLIENT ||
    (i32[at + PEER] !== 0 && (kind === PRODUCER || kind === CONSUMER || (kind === SERVER && isRoot(i32, at))))
  )
}
