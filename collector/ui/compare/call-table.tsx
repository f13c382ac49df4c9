import type { ComponentChildren } from 'preact'
import { CallName } from './call-name'

/** What a call is on both sides of a comparison. */
export interface CallRow extends Omit<Parameters<typeof CallName>[0], 'children'> {
  service: string | null
  /** What stands beside the name. */
  tags: ComponentChildren
  /** How many and how long: of one side, of the other, of one, of the other. */
  cells: [string, string, string, string]
  change: { us: number; text: string }
}

interface Props {
  caption: string
  /** The titles of the cells. */
  columns: CallRow['cells']
  rows: CallRow[]
}

/** Lists the calls of both sides as one tree. */
export function CallTable({ caption, columns, rows }: Props) {
  return (
    <div class="table-box">
      <table class="table">
        <caption>{caption}</caption>
        <thead>
          <tr>
            <th scope="col">Call</th>
            <th scope="col">Service</th>
            {[...columns, 'Change'].map(title => (
              <th key={title} scope="col" class="number">
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.length === 0 && (
            <tr>
              <td colSpan={7}>No call differs.</td>
            </tr>
          )}
          {rows.map(({ name, depth, kind, service, tags, cells, change }, i) => (
            <tr key={i} class={`diff-${kind}`}>
              <td>
                <CallName name={name} depth={depth} kind={kind}>
                  {tags}
                </CallName>
              </td>
              <td>{service}</td>
              {cells.map((text, i) => (
                <td key={i} class="number" data-label={columns[i]}>
                  {text}
                </td>
              ))}
              <td data-label="Change" class={`number ${change.us > 0 ? 'longer' : 'shorter'}`}>
                {change.text}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}
