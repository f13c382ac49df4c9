import './range.css'
import { useState } from 'preact/hooks'
import { fieldTime } from '../parts/time'
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

/** Two times in the viewer's zone. */
function Times({ range, onPick, onCancel }: TimesProps) {
  const [wrong, setWrong] = useState(false)
  const { from, to } = windowOf(range)
  const give = (event: SubmitEvent) => {
    event.preventDefault()
    const data = new FormData(event.currentTarget as HTMLFormElement)
    const [from, to] = ['range-from', 'range-to'].map(name => Date.parse(String(data.get(name))) * 1000)
    if (from! < to!) onPick(absolute({ from: from!, to: to! }))
    else setWrong(true)
  }
  return (
    <form
      class="range-row"
      onSubmit={give}
      onKeyDown={event => {
        if (event.key === 'Escape') onCancel()
      }}
    >
      <label>
        From <input type="datetime-local" name="range-from" step="1" required defaultValue={fieldTime(from)} />
      </label>
      <label>
        To{' '}
        <input
          type="datetime-local"
          name="range-to"
          step="1"
          required
          defaultValue={fieldTime(to)}
          aria-invalid={wrong}
          aria-describedby={wrong ? 'range-problem' : undefined}
        />
      </label>
      <button type="submit">Apply</button>
      {wrong && (
        <p id="range-problem" class="field-problem" role="alert">
          The first time must be before the second.
        </p>
      )}
    </form>
  )
}
