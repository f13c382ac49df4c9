import { formatDuration } from '../../src/trace'
import type { Part } from './changes'
import { signed } from './signed'

/** Shows where the time of a difference went, with bars. */
export function PartsList({ title, parts }: { title: string; parts: Part[] }) {
  if (parts.length === 0) return null
  const largest = Math.max(...parts.map(({ change }) => Math.abs(change)))
  return (
    <section class="parts">
      <h2>{title}</h2>
      <ol>
        {parts.map(({ service, name, change }) => (
          <li key={`${service} ${name}`}>
            <span class={`part-change ${change > 0 ? 'longer' : 'shorter'}`}>{signed(change, formatDuration)}</span>
            <span class="part-bar" aria-hidden="true">
              <span
                class={change > 0 ? 'longer' : 'shorter'}
                style={{ '--length': (100 * Math.abs(change)) / largest }}
              />
            </span>
            <span class="part-name">
              {name || <em>no name</em>} <span class="part-service">{service}</span>
            </span>
          </li>
        ))}
      </ol>
    </section>
  )
}
