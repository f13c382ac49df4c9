import { useState } from 'preact/hooks'
import type { Failure } from '../../src/trace'
import { CopyButton } from '../parts/copy-button'
import { framesOf } from './stack'

/** A longer stack is shown from its top. */
const SHOWN_FRAMES = 10

interface Props {
  failure: Failure
  /** Returns where traces with the same text are found, if a search can ask for it. */
  hrefOf?(text: string): string | undefined
}

/** What an error was: its type, its message and its stack. */
export function FailureText({ failure: { type, message, stack }, hrefOf }: Props) {
  return (
    <>
      {type !== null && (
        <p class="failure-type">
          <Linked text={type} href={hrefOf?.(type)} />
        </p>
      )}
      {message !== null && (
        <p class="failure-message">
          <Linked text={message} href={hrefOf?.(message)} />
        </p>
      )}
      {stack !== null && <Stack stack={stack} type={type} message={message} />}
    </>
  )
}

function Linked({ text, href }: { text: string; href: string | undefined }) {
  if (href === undefined) return <>{text}</>
  return (
    <a href={href} title="Find traces with the same value">
      {text}
    </a>
  )
}

function Stack({ stack, type, message }: { stack: string; type: string | null; message: string | null }) {
  const [all, setAll] = useState(false)
  const frames = framesOf(stack, type, message)
  if (frames.length === 0) return null
  // One more line takes no more room than the button.
  const shown = all || frames.length <= SHOWN_FRAMES + 1 ? frames : frames.slice(0, SHOWN_FRAMES)
  return (
    <div class="stack">
      <pre>
        {shown.map(({ text, library }, i) => (
          <span key={i} class={library ? 'library' : undefined}>
            {text}
            {'\n'}
          </span>
        ))}
      </pre>
      <p>
        {shown.length < frames.length && (
          <button type="button" class="small" onClick={() => setAll(true)}>
            Show all {frames.length.toLocaleString()} lines
          </button>
        )}{' '}
        <CopyButton text={stack} what="the stack" />
      </p>
    </div>
  )
}
