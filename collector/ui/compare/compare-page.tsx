import '../styles/tabs.css'
import '../styles/compare.css'
import { useEffect } from 'preact/hooks'
import { Notice } from '../parts/notice'
import { compareHref, traceHref } from '../shell/route'
import { Choices } from './choices'
import { CompareForm } from './compare-form'
import { Groups } from './groups'
import { TwoTraces } from './two-traces'
import { WithTypical } from './with-typical'

/**
 * Lays traces over each other: `a` and `b`, `a` and a typical one, or the fast and the slow ones of a search. By one trace alone, it offers
 * others of the same operation.
 */
export function ComparePage({ query }: { query: URLSearchParams }) {
  useEffect(() => {
    document.title = 'Compare – Milo'
  }, [])
  if (query.has('groups')) return <Groups query={query} />
  const [a, b] = [query.get('a') || query.get('b'), query.get('a') ? query.get('b') || null : null]
  const typical = a !== null && b === null && query.get('with') === 'typical'
  return (
    <div class="compare">
      <div class="results-head">
        <h1>Compare traces</h1>
        {a !== null && (
          <nav class="compare-links" aria-label="Other comparisons">
            {b !== null && <a href={compareHref({ a: b, b: a })}>Swap</a>}
            {typical ? (
              <a href={compareHref({ a })}>Compare with another one</a>
            ) : (
              <a href={compareHref({ a: b ?? a, with: 'typical' })}>Compare with a typical one</a>
            )}
            {b === null && <a href={traceHref(a)}>Back to the trace</a>}
          </nav>
        )}
      </div>
      <CompareForm key={`${a} ${b}`} a={a} b={b} />
      {a === null ? (
        <Notice title="Choose what to compare">
          <p>
            Enter a trace's id above: with one, Milo offers others of the same operation. On the page{' '}
            <a href="./">Find</a>, you can tick two traces.
          </p>
          <p>
            <a href="compare?from=-1h&groups=fast-slow">Compare fast and slow traces of the last hour</a>.
          </p>
        </Notice>
      ) : b !== null ? (
        <TwoTraces key={`${a} ${b}`} a={a} b={b} names={TWO} />
      ) : typical ? (
        <WithTypical key={a} id={a} />
      ) : (
        <Choices key={a} id={a} hrefTo={other => compareHref({ a: other, b: a })} />
      )}
    </div>
  )
}

const TWO = { a: 'the first trace', b: 'the second trace', columnA: 'first', columnB: 'second' }
