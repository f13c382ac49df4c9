/** What is needed of all merged spans together, in columns by their numbers; NaN for what is null. */
export class SpanColumns {
  /** The number of the parent: −1 where there is none, or where it isn't in the trace. */
  readonly parent: Int32Array
  readonly start: Float64Array
  readonly duration: Float64Array
  readonly clientStart: Float64Array
  readonly clientDuration: Float64Array
  readonly serverDuration: Float64Array
  /** The earliest and the latest time of all. */
  first = Infinity
  latest = -Infinity
  /** How many spans each service reported, as far as they have been merged. */
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
