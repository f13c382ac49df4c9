import { Notice } from '../parts/notice'

/** Replaces a graph that couldn't be laid out. @param instead where the page shows the same data */
export function LayoutFailed({ message, again, instead }: { message: string; again(): void; instead: string }) {
  return (
    <div role="alert">
      <Notice title="The graph couldn't be laid out">
        <p>
          Graphviz failed: <code>{message}</code>
        </p>
        <p>{instead} If a proxy changes the collector's Content-Security-Policy, Graphviz can't run.</p>
        <button type="button" onClick={again}>
          Try again
        </button>
      </Notice>
    </div>
  )
}
