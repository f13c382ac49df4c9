import { Notice } from '../parts/notice'

/** In a graph's place, with what shows the same. */
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
