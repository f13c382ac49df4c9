import type { Address } from '../connection'

/** An exporter over HTTP, from its settings. */
export interface HttpTarget {
  kind: 'otlp' | 'zipkin'
  /** Among the exporters: its kind, and a number for the second of a kind. */
  name: string
  address: Address
  /** As the Host header has it. */
  authority: string
  /** With the query. */
  path: string
  /** Names and values that HTTP allows. Values may be secrets. */
  headers: [string, string][]
}
