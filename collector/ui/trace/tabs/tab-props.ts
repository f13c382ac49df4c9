import type { LoadedTrace } from '../load-trace'

export interface TabProps {
  trace: LoadedTrace
  /** The trace's, as in the address. */
  id: string
  query: URLSearchParams
  /** Index of a span, or −1. */
  selected: number
  colourOf(span: number): number
  onSelect(span: number): void
}
