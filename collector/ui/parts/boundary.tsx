import { Component, type ComponentChildren } from 'preact'
import { Notice } from './notice'

interface Props {
  /** The name of the part, as in "The waterfall can't be shown". */
  what: string
  /** The state that the part shows; when it changes, the part is rendered again. */
  of?: string
  children: ComponentChildren
}

/** Shows an error in place of a part of the page that throws; the rest of the page keeps working. */
export class Boundary extends Component<Props, { error: unknown; of: string | undefined }> {
  override state = { error: undefined as unknown, of: undefined as string | undefined }

  override componentDidCatch(error: unknown): void {
    console.error(error)
    this.setState({ error: error ?? 'unknown', of: this.props.of })
  }

  override render({ what, of, children }: Props) {
    const { error, of: failed } = this.state
    if (error === undefined || failed !== of) return children
    return (
      <div role="alert">
        <Notice title={`${what} can't be shown`}>
          <p>
            This is a bug in the page: <code>{String(error).slice(0, 300)}</code>
          </p>
          <button type="button" onClick={() => this.setState({ error: undefined })}>
            Try again
          </button>
        </Notice>
      </div>
    )
  }
}
