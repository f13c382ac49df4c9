import { Turns } from '../../turns'
import type { StoreError } from '../store'
import { Counter } from './counter'
import {
  type ActivityTable,
  GRAINS,
  type Grain,
  MINUTE_US,
  OTHER,
  type Progress,
  ROW_KINDS,
  type Row,
  type RowId,
  type RowKind,
} from './model'
import {
  counterOf,
  type Delta,
  deltaEntries,
  edgeKey,
  edgeOf,
  mergeRow,
  mergeSteps,
  minuteOf,
  operationKey,
  operationOf,
  rowEntries,
} from './rows'

/**
 * Adds up what was settled. All of it is additions, so nothing depends on the order of spans or of settlings:
 *
 *     fold    deltas → rows of their minutes, and of each coarser stretch that is rolled already; the progress says up to which one
 *     roll    when a stretch is over, its row is made of the finer rows; later deltas are added to it by folding
 *     expire  what is too old is removed
 *
 * Each is a transaction that compares the progress with what it began with. So it may end anywhere, and several collectors on
 * the same databases may fold: of two at the same time, one has done it.
 */

/** How often there is something to fold. The jitter keeps collectors on the same databases apart. */
const FOLD_MS = 10_000
/** How often it is looked for what is too old. */
const EXPIRE_MS = 60_000
/** The most that one fold takes, unless a single settling is more: in bytes, distinct counters, and rows. */
const FOLD_BYTES = 8 * 1024 * 1024
const FOLD_COUNTERS = 20_000
const FOLD_ROWS = 2_000
/** How many services of a stretch have rows of their own, for each kind of row. */
export const MAX_SERVICES = 500
/** How many keys of a row keep their names. */
const MAX_KEYS: Record<RowKind, number> = { operations: 500, calls: 1_000, callers: 1_000 }
/** How long after its end a stretch is rolled: most spans of it have come, so that its coarser rows are written once. */
const ROLL_AFTER_US = 2 * MINUTE_US
/** How many rows a stretch can have at most, and those of which it is rolled: of a day, 24 hours'. */
const STRETCH_ROWS = 24 * ROW_KINDS.length * (MAX_SERVICES + 1)
/** How many rows are read, and how many bytes are written, at a time. */
const BODIES_AT_ONCE = 50
const COMMIT_BYTES = 8 * 1024 * 1024
/** What is settled is known for as long as collectors tell repeated records by it, and a reader may come back for more deltas. */
const KEEP_SETTLED_US = 11 * MINUTE_US
/** Entries that are merged between looks at the clock. */
const BETWEEN_LOOKS = 32
const DAY_US = 1440 * MINUTE_US
const HOUR_US = 60 * MINUTE_US

interface FolderOptions {
  /** How long rows of minutes and ten minutes are kept. */
  retentionDays: number
  /** How long rows of hours and days are kept. */
  activityDays: number
  /** The time of day in microseconds since the epoch. */
  nowUs(): number
  /** The same, but never later than it can be: what is older is removed. */
  surelyUs(): number
  /** The clock of the settlings' age: by default the time of day. */
  settledUs?(): number
  /** Told when something fails; it is tried again. */
  onError(error: unknown): void
  /** Told what was left out, because it isn't what was written. */
  onDamage(what: string): void
}

/** A row, and what is added to it. */
interface Target extends RowId {
  additions: Map<string, Counter>
}

export class Folder {
  /** Up to which settling this process has seen folding come. */
  folded = 0n
  private readonly table: ActivityTable
  private readonly options: FolderOptions
  private timer: NodeJS.Timeout | undefined
  private working: Promise<void> | undefined
  private closing = false
  private expiredMs = Number.NEGATIVE_INFINITY

  constructor(table: ActivityTable, options: FolderOptions) {
    this.table = table
    this.options = options
  }

  start(): void {
    if (this.closing) return
    this.timer = setTimeout(
      () => {
        this.working = this.work().finally(() => this.start())
      },
      FOLD_MS * (0.75 + Math.random() / 2),
    )
    this.timer.unref()
  }

  /** Folds once more, so that the next start has little to do. What isn't done stays for it. */
  async close(): Promise<void> {
    this.closing = true
    clearTimeout(this.timer)
    await this.working
    await this.fold().catch(error => this.options.onError(error))
  }

  /** Folds, rolls and removes all that there is, in steps. */
  async work(): Promise<void> {
    try {
      while (!this.closing && (await this.fold()));
      while (!this.closing && (await this.roll()));
      if (performance.now() < this.expiredMs + EXPIRE_MS || this.closing) return
      await this.expire()
      this.expiredMs = performance.now()
    } catch (error) {
      this.options.onError(error)
    }
  }

  /** Adds deltas to the rows. @returns whether there may be more */
  async fold(): Promise<boolean> {
    const progress = await this.table.progress()
    this.folded = progress.folded
    const settled = await this.table.settledAfter(progress.folded, FOLD_BYTES)
    for (let count = settled.length; count > 0; ) {
      const turns = new Turns()
      const { delta, taken } = await this.addUp(
        settled.slice(0, count).map(({ delta }) => delta),
        turns,
      )
      const targets = await this.targetsOf(delta, progress, turns)
      if (targets.length > FOLD_ROWS && taken > 1) {
        count = taken >> 1
        continue
      }
      const rows = await this.merged(targets, turns)
      const folded = settled[taken - 1]!.seq
      if (!(await this.table.commit(progress, rows, { ...progress, folded }))) return false
      this.folded = folded
      return true
    }
    return false
  }

  /** Makes the rows of the next stretch that is over of its finer ones. @returns whether there may be more */
  async roll(): Promise<boolean> {
    const progress = await this.table.progress()
    const overMinutes = Math.floor((this.options.nowUs() - ROLL_AFTER_US) / MINUTE_US)
    for (let grain = 1; grain < GRAINS.length; grain++) {
      const rolled = progress.rolled[grain]!
      const finer = GRAINS[grain - 1]!
      const ratio = GRAINS[grain]! / finer
      // Of finer rows that are complete themselves.
      const isOver = Math.floor(overMinutes / GRAINS[grain]!)
      const until = grain === 1 ? isOver : Math.min(isOver, Math.floor(progress.rolled[grain - 1]! / ratio))
      if (until <= rolled) continue
      const rolledTo = (time: number): Progress => {
        const next: Progress = { ...progress, rolled: [...progress.rolled] }
        next.rolled[grain] = time
        return next
      }
      const part = { grain: finer, from: rolled * ratio, to: until * ratio }
      const [first] = await this.table.rowsOf(part, 1)
      if (first === undefined) return this.table.commit(progress, [], rolledTo(until))
      const time = Math.floor(first.time / ratio)
      const ids = await this.table.rowsOf({ grain: finer, from: time * ratio, to: (time + 1) * ratio }, STRETCH_ROWS)
      return this.rollStretch(GRAINS[grain]!, time, ids, progress, rolledTo(time + 1))
    }
    return false
  }

  async expire(): Promise<void> {
    const { retentionDays, activityDays, surelyUs, settledUs = surelyUs } = this.options
    const { folded, rolled } = await this.table.progress()
    const nowUs = surelyUs()
    // By whole hours, which are read instead; and only what they have.
    const fineBeforeUs = Math.min(nowUs - retentionDays * DAY_US, rolled[2] * HOUR_US)
    await this.table.expire({
      settled: folded,
      settledBeforeUs: settledUs() - KEEP_SETTLED_US,
      fineBeforeUs: Math.floor(fineBeforeUs / HOUR_US) * HOUR_US,
      coarseBeforeUs: nowUs - Math.max(activityDays, retentionDays) * DAY_US,
    })
  }

  private async addUp(deltas: Buffer[], turns: Turns): Promise<{ delta: Delta; taken: number }> {
    const delta: Delta = new Map()
    let counters = 0
    let taken = 0
    for (const body of deltas) {
      if (counters >= FOLD_COUNTERS) break
      taken++
      // Not into the sum at once: of a damaged delta nothing counts.
      const own: Delta = new Map()
      try {
        for (const entry of deltaEntries(body)) {
          entry.addTo(counterOf(minuteOf(own, entry.minute)[entry.kind], entry.key))
          if (turns.over()) await turns.next()
        }
      } catch (error) {
        this.skip(error)
        continue
      }
      for (const [time, { operations, edges }] of own) {
        const minute = minuteOf(delta, time)
        const before = minute.operations.size + minute.edges.size
        addCounters(minute.operations, operations)
        addCounters(minute.edges, edges)
        counters += minute.operations.size + minute.edges.size - before
        if (turns.over()) await turns.next()
      }
    }
    return { delta, taken }
  }

  /** Returns the rows that change: those of minutes, and of coarser stretches that are rolled. */
  private async targetsOf(delta: Delta, { rolled }: Progress, turns: Turns): Promise<Target[]> {
    const stretches = new Map<string, Stretch>()
    for (const [minute, { operations, edges }] of delta) {
      for (const [i, grain] of GRAINS.entries()) {
        const time = Math.floor(minute / grain)
        if (i > 0 && time >= rolled[i]!) continue
        const name = `${grain} ${time}`
        let stretch = stretches.get(name)
        if (stretch === undefined) {
          stretch = new Stretch(grain, time, await this.table.rowsOf({ grain, from: time, to: time + 1 }, STRETCH_ROWS))
          stretches.set(name, stretch)
        }
        for (const [key, counter] of operations) {
          stretch.add('operations', operationOf(key).service, key, counter)
          if (turns.over()) await turns.next()
        }
        for (const [key, counter] of edges) {
          const { caller, callee } = edgeOf(key)
          stretch.add('calls', caller, key, counter)
          stretch.add('callers', callee, key, counter)
          if (turns.over()) await turns.next()
        }
      }
    }
    return [...stretches.values()].flatMap(({ targets }) => [...targets.values()])
  }

  private async merged(targets: Target[], turns: Turns): Promise<Row[]> {
    const rows: Row[] = []
    for (let i = 0; i < targets.length; i += BODIES_AT_ONCE) {
      const some = targets.slice(i, i + BODIES_AT_ONCE)
      const bodies = await this.table.bodies(some)
      for (const [j, { additions, ...id }] of some.entries()) {
        rows.push({ ...id, body: await this.bodyOf(id, bodies[j], additions, turns) })
        if (turns.over()) await turns.next()
      }
    }
    return rows
  }

  private async bodyOf(
    { kind }: RowId,
    before: Buffer | undefined,
    additions: Map<string, Counter>,
    turns: Turns,
  ): Promise<Buffer> {
    const merged = (before: Buffer | undefined) =>
      turns.take(mergeSteps(kind, before, additions, MAX_KEYS[kind]), BETWEEN_LOOKS)
    let body: Buffer
    try {
      body = await merged(before)
    } catch (error) {
      this.skip(error)
      body = await merged(undefined)
    }
    for (let keys = MAX_KEYS[kind] >> 1; body.length > this.table.maxRowBytes && keys > 0; keys >>= 1) {
      body = mergeRow(kind, body, [], keys)
    }
    return body
  }

  private async rollStretch(
    grain: Grain,
    time: number,
    ids: RowId[],
    progress: Progress,
    next: Progress,
  ): Promise<boolean> {
    const turns = new Turns()
    const groups = new Map<string, { kind: RowKind; service: string; ids: RowId[] }>()
    for (const id of ids) {
      const name = `${id.kind} ${id.service}`
      const group = groups.get(name)
      if (group === undefined) groups.set(name, { kind: id.kind, service: id.service, ids: [id] })
      else group.ids.push(id)
    }
    // What has been rolled before by a process that ended in the middle, and may not have a place now.
    const before = await this.table.rowsOf({ grain, from: time, to: time + 1 }, STRETCH_ROWS)
    const stretch = new Stretch(grain, time, [])
    const written = new Set<string>()
    let rows: Row[] = []
    let bytes = 0
    const write = (id: RowId, body: Buffer) => {
      written.add(nameOf(id))
      rows.push({ ...id, body })
      bytes += body.length
    }
    // The services that were there for longest keep their names.
    for (const { kind, service, ids } of [...groups.values()].sort((a, b) => b.ids.length - a.ids.length)) {
      const isOther = stretch.rowOf(kind, service) === OTHER
      const sums = isOther ? stretch.targetOf(kind, OTHER).additions : new Map<string, Counter>()
      for (let i = 0; i < ids.length; i += BODIES_AT_ONCE) {
        for (const body of await this.table.bodies(ids.slice(i, i + BODIES_AT_ONCE))) {
          if (body !== undefined) this.addRow(sums, kind, isOther && service !== OTHER, body)
          if (turns.over()) await turns.next()
        }
      }
      if (isOther) continue
      write({ grain, time, kind, service }, await this.bodyOf({ grain, time, kind, service }, undefined, sums, turns))
      if (bytes < COMMIT_BYTES) continue
      // Nobody reads them until the progress says that they are complete.
      if (!(await this.table.commit(progress, rows, progress))) return false
      rows = []
      bytes = 0
    }
    for (const { additions, ...id } of stretch.targets.values()) {
      write(id, await this.bodyOf(id, undefined, additions, turns))
    }
    for (const id of before) if (!written.has(nameOf(id))) write(id, mergeRow(id.kind, undefined, [], 1))
    return this.table.commit(progress, rows, next)
  }

  /** Adds a row's counters, or nothing if it is damaged. */
  private addRow(sums: Map<string, Counter>, kind: RowKind, isOther: boolean, body: Buffer): void {
    const own = new Map<string, Counter>()
    try {
      for (const entry of rowEntries(body)) {
        entry.addTo(counterOf(own, isOther ? otherKey(kind, entry.key) : entry.key))
      }
      addCounters(sums, own)
    } catch (error) {
      this.skip(error)
    }
  }

  /** Statistics aren't worth a standstill. */
  private skip(error: unknown): void {
    if ((error as StoreError).code !== 'MILO_STORE_DAMAGED') throw error
    this.options.onDamage((error as Error).message)
  }
}

/** The rows of a stretch of time that change, and the services that have rows in it. */
class Stretch {
  readonly targets = new Map<string, Target>()
  private readonly grain: Grain
  private readonly time: number
  private readonly services: Record<RowKind, Set<string>> = {
    operations: new Set(),
    calls: new Set(),
    callers: new Set(),
  }

  constructor(grain: Grain, time: number, rows: RowId[]) {
    this.grain = grain
    this.time = time
    for (const { kind, service } of rows) if (service !== OTHER) this.services[kind].add(service)
  }

  add(kind: RowKind, service: string, key: string, counter: Counter): void {
    const row = this.rowOf(kind, service)
    const { additions } = this.targetOf(kind, row)
    if (row !== service) counterOf(additions, otherKey(kind, key)).merge(counter)
    // Of a minute there is one counter of each key; it is in other rows too, so nothing may be added to it.
    else if (!additions.has(key)) additions.set(key, this.grain === 1 && row !== OTHER ? counter : copyOf(counter))
    else additions.get(key)!.merge(counter)
  }

  /** The service in whose row it is counted: beyond the limit, those that come first keep theirs. */
  rowOf(kind: RowKind, service: string): string {
    const known = this.services[kind]
    if (service === OTHER || known.has(service)) return service
    if (known.size >= MAX_SERVICES) return OTHER
    known.add(service)
    return service
  }

  targetOf(kind: RowKind, service: string): Target {
    const { grain, time } = this
    const id = { grain, time, kind, service }
    let target = this.targets.get(nameOf(id))
    if (target === undefined) this.targets.set(nameOf(id), (target = { ...id, additions: new Map() }))
    return target
  }
}

function nameOf({ kind, service }: RowId): string {
  return `${kind} ${service}`
}

/** The key under which the row of all other services counts a key. */
function otherKey(kind: RowKind, key: string): string {
  if (kind === 'operations') return operationKey({ service: OTHER, name: OTHER, side: operationOf(key).side })
  const { caller, callee } = edgeOf(key)
  const services = kind === 'calls' ? { caller: OTHER, callee } : { caller, callee: OTHER }
  return edgeKey({ ...services, callerName: OTHER, calleeName: OTHER })
}

function copyOf(counter: Counter): Counter {
  const copy = new Counter()
  copy.merge(counter)
  return copy
}

function addCounters(to: Map<string, Counter>, from: Map<string, Counter>): void {
  for (const [key, counter] of from) {
    const known = to.get(key)
    if (known === undefined) to.set(key, counter)
    else known.merge(counter)
  }
}
