import type { ComponentChildren } from 'preact'
import type { Kind } from './changes'

const SIGNS: Record<Kind, string> = { added: '+', removed: '−', more: '+', less: '−', same: ' ' }

interface Props {
  name: string
  depth: number
  kind: Kind
  /** What stands beside the name. */
  children?: ComponentChildren
}

/** The name of a call in a comparison, indented by its depth, with the way in which it differs. */
export function CallName({ name, depth, kind, children }: Props) {
  return (
    <span class="diff-name" style={{ '--depth': depth }} title={name.length > 20 ? name : undefined}>
      <span class="diff-sign" aria-hidden="true">
        {SIGNS[kind]}
      </span>{' '}
      {name || <em>no name</em>} {children}
    </span>
  )
}
