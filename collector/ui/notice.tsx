import type { ComponentChildren } from 'preact'
import type { Problem } from './json'

/** A page's or a list's place when there is nothing to show in it: what happened, and what to do next. */
export function Notice({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <section class="notice">
      <h2>{title}</h2>
      {children}
    </section>
  )
}

export function Failure({ title, problem, retry }: { title: string; problem: Problem; retry: () => void }) {
  return (
    <div role="alert">
      <Notice title={title}>
        <p>{problem.message}</p>
        <button type="button" onClick={retry}>
          Try again
        </button>
      </Notice>
    </div>
  )
}

/** Said to screen readers at once; shown only when waiting takes long enough to wonder. */
export function Waiting({ what }: { what: string }) {
  return (
    <p class="waiting" role="status">
      Loading {what}…
    </p>
  )
}
