import { Later } from '../parts/later'
import { Notice, Waiting } from '../parts/notice'
import { type AskedSearch, changedAddress, conditionsOf } from './query-address'

interface Props {
  asked: AskedSearch
  narrowed: boolean
  before: string
  /** The address of the first page. */
  first: string
  /** The address at which to continue the search, if it stopped before it had searched everything. */
  next: string | undefined
}

/** Explains why there are no results and what to do next. */
export function Empty({ asked, narrowed, before, first, next }: Props) {
  if (next !== undefined) {
    return (
      <Notice title="Nothing found so far">
        <p>
          The search paused to let other requests run. Older traces have not been searched yet.{' '}
          <a href={next}>Continue searching</a>
        </p>
      </Notice>
    )
  }
  if (before !== '') {
    return (
      <Notice title="No older traces">
        <p>
          This is the end of the list. <a href={first}>Back to the newest</a>
        </p>
      </Notice>
    )
  }
  if (!narrowed) {
    return (
      <Later
        load={() => import('./first-trace')}
        show={({ FirstTrace }) => <FirstTrace />}
        meanwhile={<Waiting what="traces" />}
      />
    )
  }
  const conditions = conditionsOf(asked.query)
  return (
    <Notice title="Nothing matches">
      <p>
        No span meets {conditions.length === 1 ? 'this condition' : 'all of these conditions'}. Search without{' '}
        {conditions.length === 1 ? 'it' : 'one of them'}:
      </p>
      <p class="conditions">
        {conditions.map(({ text, without }) => (
          <a key={text} class="chip" href={changedAddress(asked, without)} aria-label={`Search without ${text}`}>
            <code>{text}</code> <span aria-hidden="true">×</span>
          </a>
        ))}
      </p>
      <p>
        Names, keys and values must match exactly, including upper and lower case. <code>key^=value</code> matches
        values that begin with it, <code>key*=value</code> values that contain it. One span must meet all conditions,
        unless <code>&gt;</code> or <code>&gt;&gt;</code> stands between them.
      </p>
    </Notice>
  )
}
