import type { ComponentChildren } from 'preact'
import type { Problem } from '../shell/problem'
import { TokenForm } from '../shell/token-form'

/** Shown instead of a page or list that is empty or failed: says what happened and what to do next. */
export function Notice({ title, page = false, children }: NoticeProps) {
  return (
    <section class="notice">
      {page ? <h1>{title}</h1> : <h2>{title}</h2>}
      {children}
    </section>
  )
}

interface NoticeProps {
  title: string
  /** Whether the notice is the whole page. */
  page?: boolean
  children: ComponentChildren
}

interface FailureProps extends Omit<NoticeProps, 'children'> {
  problem: Problem
  retry(): void
}

export function Failure({ title, page, problem, retry }: FailureProps) {
  return (
    <div role="alert">
      <Notice title={title} page={page}>
        <p>{problem.message}</p>
        {problem.status === 401 ? (
          <TokenForm onGiven={retry} />
        ) : (
          <button type="button" onClick={retry}>
            Try again
          </button>
        )}
      </Notice>
    </div>
  )
}

/** Announced to screen readers at once; becomes visible only after a short delay. */
export function Waiting({ what }: { what: string }) {
  return (
    <p class="waiting" role="status">
      Loading {what}…
    </p>
  )
}
