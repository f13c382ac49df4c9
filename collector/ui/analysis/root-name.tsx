import type { AnalysedRoot } from '../../src/http/answers'

/** An operation, and whose it is. */
export function RootName({ root: { service, name } }: { root: AnalysedRoot }) {
  return (
    <>
      <strong>{name || <em>no name</em>}</strong> <span class="part-service">{serviceText(service)}</span>
    </>
  )
}

export function rootText({ service, name }: AnalysedRoot): string {
  return `${name || 'no name'} · ${serviceText(service)}`
}

function serviceText(service: string | null): string {
  return service === null ? 'unknown service' : service || 'no name'
}
