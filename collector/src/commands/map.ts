import { LineReader, LineWriter } from '../offline/lines'
import { Mapper } from '../offline/map'
import { MAX_LINE_BYTES } from '../offline/record-line'
import { lineReport, refusing } from './line-report'

/** Maps the lines of standard input to standard output: see Mapper. */
export function map({ reporter }: { reporter?: boolean }): void {
  const mapper = new Mapper(new LineReader(0, MAX_LINE_BYTES), new LineWriter(1))
  const report = lineReport('map', () => mapper.counts, reporter)
  refusing(() => mapper.run(() => report.now()))
  report.end()
}
