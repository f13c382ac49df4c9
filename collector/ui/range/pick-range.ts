import { setQuery } from '../shell/address'
import { rangeParams, type TimeRange } from './range'

/** Goes to the same page in another range. */
export function pickRange(range: TimeRange): void {
  setQuery({ to: null, ...rangeParams(range) }, { replace: false })
}
