import assert from 'node:assert/strict'
import { buildTrace } from '../../../collector/src/trace'
import type { Palette } from '../../../collector/ui/parts/colors'
import { ColumnWriter } from '../../../collector/ui/trace/columns'
import { errorsOf } from '../../../collector/ui/trace/errors'
import { groupEntry, groupSiblings } from '../../../collector/ui/trace/siblings'
import { deriveTree } from '../../../collector/ui/trace/tree'
import { drawBars } from '../../../collector/ui/trace/waterfall/draw-bars'
import { paintMinimap } from '../../../collector/ui/trace/waterfall/paint-minimap'
import type { SpanRecord } from '../../../src/codec/span'
import { local } from '../trace/records'

const palette = {
  services: Array.from({ length: 8 }, () => '#0000ff'),
  ...{ unknown: '#888888', line: '#eeeeee', high: '#ff0000', ink: '#000000', quiet: '#999999' },
} as unknown as Palette

function loaded(records: SpanRecord[]) {
  const trace = buildTrace(records)
  const columns = new ColumnWriter(trace.start).write(trace.spans)
  return { columns, tree: deriveTree(columns) }
}

const failed = { annotations: new Map([['error', 'no']]) }

describe('the minimap', () => {
  it('is red only where an error arose, not where it rose through', () => {
    const { columns, tree } = loaded([
      local(1n, { name: 'root', from: 0, to: 100, ...failed }),
      local(2n, { parentId: 1n, name: 'middle', from: 10, to: 90, ...failed }),
      local(3n, { parentId: 2n, name: 'leaf', from: 40, to: 60, ...failed }),
    ])
    const [width, height] = [100, 12]
    const image = { width, height, data: new Uint8ClampedArray(4 * width * height) } as ImageData
    const extent = { from: 0, to: 100 }
    const { arose } = errorsOf(columns, tree)
    paintMinimap(image, { columns, count: 3, extent, raw: false, arose, colorOf: () => 0 }, palette)
    const red: number[] = []
    for (let i = 0; i < width * height; i++) if (image.data[4 * i] === 255 && image.data[4 * i + 2] === 0) red.push(i)
    assert.ok(red.length > 0)
    assert.deepEqual(
      [...new Set(red.map(i => i % width))].sort((a, b) => a - b),
      Array.from({ length: 20 }, (_, i) => 40 + i),
    )
    const blue = Array.from({ length: width * height }, (_, i) => i).filter(i => image.data[4 * i + 2] === 255)
    assert.ok(blue.some(i => i % width === 0) && blue.some(i => i % width === 15))
  })
})

describe('the row of a group', () => {
  it('has the bars of all members, the ends of failed ones, and the critical path', () => {
    const calls = [0, 100, 102, 300, 400, 500, 700].map((from, i) =>
      local(BigInt(10 + i), { parentId: 1n, name: 'call', from, to: from + 50, ...(i === 3 && failed) }),
    )
    const { columns, tree } = loaded([local(1n, { name: 'root', from: 0, to: 1000 }), ...calls])
    const groups = groupSiblings(columns, tree)
    const [first] = groups.members.keys()
    const rects: [style: string, from: number, to: number][] = []
    const context = {
      fillStyle: '',
      clearRect() {},
      fillRect(this: { fillStyle: string }, x: number, _y: number, width: number) {
        rects.push([this.fillStyle, x, x + width])
      },
    } as unknown as CanvasRenderingContext2D
    const critical = new Map([[first!, [0, 50]]])
    const common = { columns, groups, rowHeight: 28, barTop: 7, barHeight: 12, raw: false, colorOf: () => 0, critical }
    const rows = Int32Array.from([groupEntry(first!)])
    drawBars(context, { ...common, rows, width: 100, view: { from: 0, to: 1000 }, ticks: [] }, palette)
    assert.deepEqual(rects, [
      ['#0000ff', 0, 5],
      ['#0000ff', 10, 16],
      ['#0000ff', 30, 35],
      ['#0000ff', 40, 45],
      ['#0000ff', 50, 55],
      ['#0000ff', 70, 75],
      ['#ff0000', 35, 36],
      ['#000000', 0, 5],
    ])
    rects.length = 0
    // Of the view, and nothing before or after it.
    drawBars(context, { ...common, rows, width: 100, view: { from: 420, to: 520 }, ticks: [] }, palette)
    assert.deepEqual(rects, [
      ['#0000ff', 0, 30],
      ['#0000ff', 80, 100],
    ])
  })
})
