/** The fields of all merged spans that the tree and the measurements need, in columns by span number. NaN stands for null. */
export class SpanColumns {
  /** The number of the parent: −1 if the span has none, or it isn't in the trace. */
  readonly parent: Int32Array
  readonly start: Float64Array
  readonly duration: Float64Array
  readonly clientStart: Float64Array
  readonly clientDuration: Float64Array
  readonly serverDuration: Float64Array
  /** The earliest and the latest time of any span. */
  first = Infinity
  latest = -Infinity
  /** The number of spans that each service reported, counted while spans are merged. */
  readonly reported = new Map<string, { spans: number; latest: number }>()

  constructor(count: number) {
    this.parent = new Int32Array(count)
    this.start = new Float64Array(count)
    this.duration = new Float64Array(count)
    this.clientStart = new Float64Array(count)
    this.clientDuration = new Float64Array(count)
    this.serverDuration = new Float64Array(count)
  }
}
