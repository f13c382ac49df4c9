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

/**
 * Columns for the time of a join. OPERATION takes the place of the list that led to the rows. The other two are those of the
 * row that stands for its id: its server half with the least hash or −1, and whether there is a client half.
 */
const SERVER_OF_ID = 22
const CLIENT_OF_ID = 23
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
 * If a half was reported in several ways, the one with the least hash is the other half of all. It is found once for an id, and
 * not again for each record: a sender may give one id to all of a trace.
 */
export class Joins {
  /** The edge that edgeOf() has found: words, as in the columns of a row. */
  callerName = 0
  other = 0
  calleeName = 0
  private readonly rows: Rows
  private i32: Int32Array
  /** Offsets of rows, −1 in empty slots: any one of an id; and the least server half of a parent's id that has no client half. */
  private byId = new Int32Array(64)
  private byParent = new Int32Array(64)
  /** The record of an id that is a service's: the server half if there is one, and the least of several. */
  private byService = new Int32Array(64)
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
      this.byService = new Int32Array(slots)
      this.path = new Int32Array(slots)
    }
    this.mask = slots - 1
    this.byId.fill(-1, 0, slots)
    this.byParent.fill(-1, 0, slots)
    this.byService.fill(-1, 0, slots)
    for (let m = 0; m < count; m++) {
      const at = members[m]!
      i32[at + OPERATION] = UNKNOWN_YET
      const slot = this.slotOf(this.byId, ID, i32[at + ID]!, i32[at + ID + 1]!)
      let first = this.byId[slot]!
      if (first === -1) {
        this.byId[slot] = first = at
        i32[at + SERVER_OF_ID] = -1
        i32[at + CLIENT_OF_ID] = 0
      }
      const kind = i32[at + FLAGS]! & KIND
      if (kind === CLIENT) i32[first + CLIENT_OF_ID] = 1
      else if (kind === SERVER) i32[first + SERVER_OF_ID] = this.least(i32[first + SERVER_OF_ID]!, at)
      const place = this.placeOf(i32[at + ID]!, i32[at + ID + 1]!, i32[at + SERVICE]!)
      const known = this.byService[place]!
      this.byService[place] = known === -1 ? at : this.nearer(known, at)
    }
    for (let m = 0; m < count; m++) {
      const at = members[m]!
      if ((i32[at + FLAGS]! & KIND) !== SERVER || isRoot(i32, at) || this.hasClient(at)) continue
      const slot = this.slotOf(this.byParent, PARENT, i32[at + PARENT]!, i32[at + PARENT + 1]!)
      this.byParent[slot] = this.least(this.byParent[slot]!, at)
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
    const found = i32[this.byId[this.slotOf(this.byId, ID, high, low)]! + SERVER_OF_ID]!
    return found === -1 ? this.byParent[this.slotOf(this.byParent, PARENT, high, low)]! : found
  }

  private hasClient(at: number): boolean {
    const { i32 } = this
    const first = this.byId[this.slotOf(this.byId, ID, i32[at + ID]!, i32[at + ID + 1]!)]!
    return i32[first + CLIENT_OF_ID] === 1
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
    const [high, low] = [i32[child + PARENT]!, i32[child + PARENT + 1]!]
    const found = this.byService[this.placeOf(high, low, i32[child + SERVICE]!)]!
    if (found !== -1) return found
    return this.byId[this.slotOf(this.byId, ID, high, low)] === -1 ? NOWHERE : ELSEWHERE
  }

  private nearer(a: number, b: number): number {
    const { i32 } = this
    const isServer = (i32[a + FLAGS]! & KIND) === SERVER
    if (isServer === ((i32[b + FLAGS]! & KIND) === SERVER)) return this.least(a, b)
    return isServer ? a : b
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

  /** The same of the table by id and service. */
  private placeOf(high: number, low: number, service: number): number {
    const { i32, mask, byService } = this
    let slot = spreadOf(high ^ Math.imul(service, 0x9e3779b1), low) & mask
    for (;;) {
      const at = byService[slot]!
      if (at === -1 || (i32[at + ID + 1] === low && i32[at + ID] === high && i32[at + SERVICE] === service)) return slot
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
