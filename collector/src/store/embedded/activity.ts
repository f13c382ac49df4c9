import { setImmediate } from 'node:timers/promises'
import {
  type ActivityQuery,
  type ActivityRead,
  type ActivityTable,
  type Expiry,
  GRAINS,
  MINUTE_US,
  type Progress,
  type ReadPart,
  ROW_KINDS,
  type Row,
  type RowId,
  type Settled,
} from '../activity/model'
import { PAGE_ROWS, type PageQuery, PORTION_BYTES, planOf, portionOf } from '../activity/read'
import type { EmbeddedFile } from './file'

/** What services did, in the file. The owner's connection writes it, and another one reads it. */

const MAX_ROW_BYTES = 1024 * 1024
/** Rows that are removed in one transaction. */
const REMOVE_ROWS = 64

export class EmbeddedActivity implements ActivityTable {
  readonly maxRowBytes = MAX_ROW_BYTES
  private readonly file: EmbeddedFile

  constructor(file: EmbeddedFile) {
    this.file = file
  }

  async progress(): Promise<Progress> {
    return progressOf(this.file)
  }

  async settledAfter(seq: bigint, maxBytes: number): Promise<Settled[]> {
    return deltasAfter(this.file, seq, maxBytes).settled
  }

  async bodies(rows: RowId[]): Promise<(Buffer | undefined)[]> {
    const { selectActivityBody } = this.file.sql
    return rows.map(row => (selectActivityBody.get(keyOf(row)) as [Buffer] | undefined)?.[0])
  }

  async rowsOf({ grain, from, to }: ReadPart, most: number): Promise<RowId[]> {
    const parameters = [grain, from, to, most].map(BigInt)
    const rows = this.file.sql.selectActivityIds.all(parameters) as [bigint, Buffer, bigint][]
    return rows.map(([time, service, kind]) => ({
      grain,
      time: Number(time),
      service: service.toString(),
      kind: ROW_KINDS[Number(kind)]!,
    }))
  }

  async commit(_expected: Progress, rows: Row[], { folded, rolled }: Progress): Promise<boolean> {
    // Nobody else folds.
    this.file.background(() => {
      for (const row of rows) this.file.sql.writeActivity.run([...keyOf(row), row.body])
      this.file.sql.updateActivityProgress.run([folded, ...rolled.slice(1).map(BigInt)])
    })
    return true
  }

  async expire({ settled, settledBeforeUs, fineBeforeUs, coarseBeforeUs }: Expiry): Promise<void> {
    const { deleteSettled, deleteActivity } = this.file.sql
    const most = BigInt(REMOVE_ROWS)
    await this.inPieces(() => deleteSettled.run([settled, BigInt(Math.floor(settledBeforeUs)), most]).changes)
    for (const [i, grain] of GRAINS.entries()) {
      const before = Math.floor((i < 2 ? fineBeforeUs : coarseBeforeUs) / MINUTE_US / grain)
      await this.inPieces(() => deleteActivity.run([BigInt(grain), BigInt(before), most]).changes)
    }
  }

  private async inPieces(remove: () => number): Promise<void> {
    for (let removed = REMOVE_ROWS; removed === REMOVE_ROWS; ) {
      await setImmediate()
      this.file.background(() => {
        removed = remove()
      })
    }
  }
}

/** Answers a query, or as much of it as a thread should take over at once. @param keptFromUs see planOf() */
export function readEmbeddedActivity(file: EmbeddedFile, query: ActivityQuery, keptFromUs: number): ActivityRead {
  return file.snapshot(() => {
    const progress = progressOf(file)
    const { settled: deltas, more } = deltasAfter(file, query.deltasAfter ?? progress.folded, PORTION_BYTES)
    const portion = portionOf(query, query.deltasAfter === undefined ? planOf(query, progress, keptFromUs) : [])
    for (let step = portion.next(); ; ) {
      if (step.done) return { ...step.value, deltas, moreDeltas: more }
      step = portion.next(pageOf(file, query, step.value))
    }
  })
}

function pageOf(file: EmbeddedFile, { kinds, service }: ActivityQuery, { part, after }: PageQuery): Row[] {
  const { selectActivity, selectActivityOfService } = file.sql
  const mask = kinds.reduce((mask, kind) => mask | (1 << ROW_KINDS.indexOf(kind)), 0)
  const last = after === undefined ? [-1n, Buffer.alloc(0), 0n] : keyOf(after).slice(1)
  const parameters = [...[part.grain, part.from, part.to].map(BigInt), ...last, BigInt(mask), BigInt(PAGE_ROWS)]
  const rows =
    service === undefined
      ? selectActivity.all(parameters)
      : selectActivityOfService.all([...parameters, Buffer.from(service)])
  return (rows as [bigint, Buffer, bigint, Buffer][]).map(([time, service, kind, body]) => ({
    grain: part.grain,
    time: Number(time),
    service: service.toString(),
    kind: ROW_KINDS[Number(kind)]!,
    body,
  }))
}

function progressOf(file: EmbeddedFile): Progress {
  const [, folded, ...rolled] = file.sql.selectActivityProgress.get([]) as bigint[]
  const [ten, hour, day] = rolled.map(Number)
  return { folded: folded!, rolled: [0, ten!, hour!, day!] }
}

function deltasAfter(file: EmbeddedFile, seq: bigint, maxBytes: number): { settled: Settled[]; more: boolean } {
  const settled: Settled[] = []
  let bytes = 0
  for (let last = seq; ; ) {
    // One by one: each may be of megabytes.
    const row = file.sql.selectDelta.get([last]) as [bigint, Buffer] | undefined
    if (row === undefined) return { settled, more: false }
    const [seq, delta] = row
    if (settled.length > 0 && bytes + delta.length > maxBytes) return { settled, more: true }
    settled.push({ seq, delta })
    bytes += delta.length
    last = seq
  }
}

function keyOf({ grain, time, service, kind }: RowId): [bigint, bigint, Buffer, bigint] {
  return [BigInt(grain), BigInt(time), Buffer.from(service), BigInt(ROW_KINDS.indexOf(kind))]
}
