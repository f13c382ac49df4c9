import type { DifferenceAnswer, Feature, Finding, FindingCount } from '../../../src/http/answers'
import { print, type Query } from '../../../src/query'
import { searchHref, traceHref } from '../../shell/route'
import { searchWith } from './difference-address'

interface Props {
  title: string
  findings: Finding[]
  answer: DifferenceAnswer
  base: Query
}

/** Lists features with two bars each: the share of the selected traces that have it, and that of the others. */
export function FindingList({ title, findings, answer, base }: Props) {
  if (findings.length === 0) return null
  return (
    <section>
      <h2>{title}</h2>
      <ol class="findings">
        {findings.map(finding => (
          <li key={keyOf(finding)}>
            <FindingRow finding={finding} answer={answer} base={base} />
          </li>
        ))}
      </ol>
    </section>
  )
}

function FindingRow({ finding, answer, base }: { finding: Finding; answer: DifferenceAnswer; base: Query }) {
  const { selected, others, also } = finding
  return (
    <>
      <p class="finding-what">
        <FeatureLink feature={finding} answer={answer} base={base} />
      </p>
      <div class="finding-bars">
        <Bar what="selected" label="selected" count={selected} of={answer.selected.traces} />
        <Bar what="others" label="others" count={others} of={answer.others.traces} />
      </div>
      <p class="hint">
        {liftText(finding)}
        {selected.example !== null && (
          <>
            {' · '}
            <a href={traceHref(selected.example)}>A selected trace with it</a>
          </>
        )}
        {others.example !== null && (
          <>
            {' · '}
            <a href={traceHref(others.example)}>One of the others with it</a>
          </>
        )}
      </p>
      {also.length > 0 && (
        <details class="finding-also">
          <summary>The same traces also have {also.length === 1 ? 'this' : `these ${also.length}`}</summary>
          <ul>
            {also.map(feature => (
              <li key={keyOf(feature)}>
                <FeatureLink feature={feature} answer={answer} base={base} />
              </li>
            ))}
          </ul>
        </details>
      )}
    </>
  )
}

function FeatureLink({ feature, answer, base }: { feature: Feature; answer: DifferenceAnswer; base: Query }) {
  const query = searchWith(base, feature, answer)
  const text = <FeatureText feature={feature} />
  if (query === undefined) return text
  return (
    <a href={searchHref({ q: print(query) })} title="Search for traces with it">
      {text}
    </a>
  )
}

const KINDS: Record<Feature['kind'], string> = {
  service: 'Service',
  name: 'Span',
  error: 'Failed span',
  annotation: 'Annotation',
  range: 'Largest value',
}

function FeatureText({ feature: { kind, service, name, key, value, min, max, cut } }: { feature: Feature }) {
  const place = kind === 'service' ? null : service
  const what =
    kind === 'service'
      ? service
      : kind === 'range'
        ? min === max
          ? `${key} = ${number(min!)}`
          : `${key} from ${number(min!)} to ${number(max!)}`
        : kind === 'annotation'
          ? value === null
            ? `${key}, whatever its value`
            : `${key}=${value}`
          : (name ?? (kind === 'error' ? 'of any name' : 'no name'))
  return (
    <>
      <span class="tag">{KINDS[kind]}</span>{' '}
      <code>
        {what}
        {cut && '…'}
      </code>
      {place !== null && <span class="finding-place"> in {place}</span>}
    </>
  )
}

function Bar({ what, label, count, of }: { what: string; label: string; count: FindingCount; of: number }) {
  return (
    <div class="finding-bar" data-group={what}>
      <span class="finding-share">{percent(count.share)}</span>
      <span class="finding-track" aria-hidden="true">
        <span style={{ '--length': 100 * count.share }} />
      </span>
      <span class="count">
        {count.traces.toLocaleString()} of {of.toLocaleString()} {label}
      </span>
    </div>
  )
}

/** "0.7%", "12%"; what isn't all isn't shown as 100%, nor what isn't none as 0. */
function percent(share: number): string {
  const percents = 100 * share
  if (share > 0 && percents < 0.1) return '< 0.1%'
  if (share < 1 && percents > 99.5) return '> 99%'
  return `${percents.toLocaleString(undefined, { maximumFractionDigits: percents < 10 ? 1 : 0 })}%`
}

function liftText({ lift }: Finding): string {
  const times = lift >= 1 ? lift : 1 / lift
  const shown = times.toLocaleString(undefined, { maximumFractionDigits: times < 10 ? 1 : 0 })
  return `${shown} times as ${lift >= 1 ? 'frequent' : 'rare'}`
}

function number(n: number): string {
  return n.toLocaleString(undefined, { maximumFractionDigits: 6 })
}

function keyOf({ kind, service, name, key, value, min, max }: Feature): string {
  return JSON.stringify([kind, service, name, key, value, min, max])
}
