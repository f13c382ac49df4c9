import { setQuery } from '../shell/address'
import { rangeParams, type TimeRange } from './range'

/** Goes to the same page in another range. */
export function pickRange(range: TimeRange): void {
  const { from = null, to = null } = rangeParams(range)
  setQuery({ from, to }, { replace: false })
}
