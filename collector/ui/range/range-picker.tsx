import './range.css'
import { useState } from 'preact/hooks'
import { DURATION_REMEDY, parseDurationUs } from '../../src/query'
import { fieldTime, zoneName } from '../parts/time'
import { absolute, DEFAULT_RANGE, moved, PRESETS, rangeTitle, sameRange, type TimeRange, windowOf } from './range'

interface Props {
  /** Undefined for any time, which only searches have. */
  range: TimeRange | undefined
  onPick(range: TimeRange | undefined): void
  /** Whether any time may be chosen, too. */
  orAny?: boolean
}

/** Picks a time range: one that ends now, or from one time to another. */
export function RangePicker({ range, onPick, orAny = false }: Props) {
  const [editing, setEditing] = useState(false)
  const preset = range === undefined ? -1 : PRESETS.findIndex(preset => sameRange(preset.range, range))
  const value = editing ? 'edit' : range === undefined ? 'any' : preset === -1 ? 'own' : String(preset)
  const pick = (chosen: string) => {
    if (chosen === 'edit') return setEditing(true)
    setEditing(false)
    if (chosen === 'any') onPick(undefined)
    else if (chosen !== 'own') onPick(PRESETS[Number(chosen)]!.range)
  }
  const shift = (steps: number) => {
    setEditing(false)
    onPick(moved(range!, steps))
  }
  return (
    <search class="range" aria-label="Time range">
      <div class="range-row">
        <select aria-label="Time range" value={value} onChange={event => pick(event.currentTarget.value)}>
          {orAny && <option value="any">Any time</option>}
          {range !== undefined && preset === -1 && <option value="own">{rangeTitle(range)}</option>}
          {PRESETS.map(({ title }, i) => (
            <option key={title} value={i}>
              {title}
            </option>
          ))}
          <option value="edit">From … to …</option>
        </select>
        {range !== undefined && (
          <>
            <button type="button" class="icon" aria-label="Earlier" title="Earlier" onClick={() => shift(-1)}>
              <span aria-hidden="true">‹</span>
            </button>
            <button
              type="button"
              class="icon"
              aria-label="Later"
              title="Later"
              disabled={range.to === undefined}
              onClick={() => shift(1)}
            >
              <span aria-hidden="true">›</span>
            </button>
          </>
        )}
      </div>
      {editing && (
        <Times
          range={range ?? DEFAULT_RANGE}
          onPick={picked => {
            setEditing(false)
            onPick(picked)
          }}
          onCancel={() => setEditing(false)}
        />
      )}
    </search>
  )
}

interface TimesProps {
  range: TimeRange
  onPick(range: TimeRange): void
  onCancel(): void
}

/** How long until now, or two times in the viewer's zone. */
function Times({ range, onPick, onCancel }: TimesProps) {
  const [wrong, setWrong] = useState<'last' | 'times' | null>(null)
  // Now has milliseconds that nobody asked for.
  const isWhole = 'agoUs' in range.from || range.to === undefined || 'agoUs' in range.to
  const window = windowOf(range)
  const [from, to] = isWhole ? [window.from, window.to].map(us => Math.floor(us / 1e6) * 1e6) : [window.from, window.to]
  const giveLast = (event: SubmitEvent) => {
    event.preventDefault()
    const agoUs = parseDurationUs(String(new FormData(event.currentTarget as HTMLFormElement).get('range-last')).trim())
    if (agoUs) onPick({ from: { agoUs } })
    else setWrong('last')
  }
  const giveTimes = (event: SubmitEvent) => {
    event.preventDefault()
    const data = new FormData(event.currentTarget as HTMLFormElement)
    const [from, to] = ['range-from', 'range-to'].map(name => Date.parse(String(data.get(name))) * 1000)
    if (from! < to!) onPick(absolute({ from: from!, to: to! }))
    else setWrong('times')
  }
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === 'Escape') onCancel()
  }
  const time = (label: string, name: string, us: number) => (
    <label>
      {label}{' '}
      <input
        type="datetime-local"
        name={name}
        // Milliseconds show only where there are any.
        step={us % 1e6 === 0 ? '1' : '0.001'}
        required
        defaultValue={fieldTime(us)}
        aria-invalid={wrong === 'times'}
        aria-describedby={wrong === 'times' ? 'range-problem' : 'range-zone'}
      />
    </label>
  )
  return (
    <div class="range-edit">
      <form class="range-row" onSubmit={giveLast} onKeyDown={onKeyDown}>
        <label>
          Last{' '}
          <input
            class="range-last"
            name="range-last"
            placeholder="3h"
            autocomplete="off"
            required
            aria-invalid={wrong === 'last'}
            aria-describedby={wrong === 'last' ? 'range-problem' : undefined}
          />
        </label>
        <button type="submit">Show</button>
      </form>
      <form class="range-row" onSubmit={giveTimes} onKeyDown={onKeyDown}>
        {time('From', 'range-from', from!)}
        {time('To', 'range-to', to!)}
        <button type="submit">Apply</button>
      </form>
      {wrong === null ? (
        <p id="range-zone" class="hint">
          In your zone: {zoneName(to!)}
        </p>
      ) : (
        <p id="range-problem" class="field-problem" role="alert">
          {wrong === 'last' ? `Not a duration: ${DURATION_REMEDY}.` : 'The first time must be before the second.'}
        </p>
      )}
    </div>
  )
}
