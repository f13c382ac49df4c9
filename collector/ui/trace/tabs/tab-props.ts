import type { Errors } from '../errors'
import type { LoadedTrace } from '../load-trace'
import type { MissingAt } from '../missing'

export interface TabProps {
  trace: LoadedTrace
  errors: Errors
  missing: MissingAt
  /** The trace id in the address. */
  id: string
  query: URLSearchParams
  /** Index of the selected span, or −1. */
  selected: number
  colorOf(span: number): number
  onSelect(span: number): void
}
