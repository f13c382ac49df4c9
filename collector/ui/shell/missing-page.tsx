import { useEffect } from 'preact/hooks'
import { findTraceId } from '../../src/trace'
import { Notice } from '../parts/notice'
import { traceHref } from './route'

/** Shown at an address that no page has. Addresses of other tracing systems lead to what they mean, if that can be told. */
export function MissingPage({ path }: { path: string }) {
  useEffect(() => {
    document.title = 'No such page – Milo'
  }, [])
  // Zipkin and Jaeger have a trace's id at the end of its address.
  const last = path.replace(/\/$/, '').split('/').at(-1)!
  const id = /^[0-9a-f]{16,32}$/i.test(last) ? findTraceId(last) : null
  return (
    <Notice title="There is no such page" page>
      <p>
        Nothing has the address <code>{path.slice(0, 300)}</code>.
      </p>
      {id !== null && (
        <p>
          It ends in what may be a trace's id: <a href={traceHref(id)}>trace {id}</a>
        </p>
      )}
      <ul class="page-list">
        {PAGES.map(([href, title, what]) => (
          <li key={href}>
            <a href={href}>{title}</a> {what}
          </li>
        ))}
      </ul>
    </Notice>
  )
}

const PAGES = [
  ['./', 'Find', 'searches for traces'],
  ['services', 'Services', 'lists rates, errors and latencies'],
  ['errors', 'Errors', 'groups what failed by where and why'],
  ['graph', 'Graph', 'draws which service calls which'],
  ['changes', 'Changes', 'compares two times'],
  ['compare', 'Compare', 'lays traces over each other'],
  ['upload', 'Upload', 'takes a file with traces'],
] as const
