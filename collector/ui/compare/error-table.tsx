/** An error that arose in one or both of what is compared. */
export interface ErrorRow {
  service: string | null
  name: string
  type: string | null
  message: string | null
  /** Where it arose alone, if it did. */
  tag: string | undefined
  counts: [ErrorCell, ErrorCell]
}

interface ErrorCell {
  text: string
  /** An example. */
  href: string | undefined
}

const MAX_ROWS = 50

/** Lists errors by type, message and the call in which they arose, with how often on both sides. */
export function ErrorTable({ title, columns, rows }: { title: string; columns: [string, string]; rows: ErrorRow[] }) {
  if (rows.length === 0) return null
  return (
    <section>
      <h2>{title}</h2>
      <div class="table-box">
        <table class="table compare-errors">
          <caption>Errors of both</caption>
          <thead>
            <tr>
              <th scope="col">Error</th>
              <th scope="col">Arose in</th>
              {columns.map(column => (
                <th key={column} scope="col" class="number">
                  {column}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, MAX_ROWS).map((row, i) => (
              <tr key={i}>
                <td>
                  {row.type !== null && <strong>{row.type}</strong>}
                  {row.type !== null && row.message !== null && ': '}
                  {row.message}
                  {row.type === null && row.message === null && <em>no type or message</em>}{' '}
                  {row.tag !== undefined && <span class="tag">{row.tag}</span>}
                </td>
                <td>
                  {row.name || <em>no name</em>} <span class="part-service">{row.service}</span>
                </td>
                {row.counts.map(({ text, href }, i) => (
                  <td key={i} class="number" data-label={columns[i]}>
                    {href === undefined ? text : <a href={href}>{text}</a>}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {rows.length > MAX_ROWS && <p class="summary">Only the first {MAX_ROWS} are shown.</p>}
    </section>
  )
}
