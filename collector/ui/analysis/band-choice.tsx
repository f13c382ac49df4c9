import { setQuery } from '../shell/address'
import { BANDS, type ShownBand } from './path-tree'

/** Returns the band that the address asks for. */
export function askedBand(query: URLSearchParams): ShownBand {
  const asked = query.get('band') ?? ''
  return Object.hasOwn(BANDS, asked) ? (asked as ShownBand) : 'all'
}

/** Buttons that choose which traces of a root operation are shown. */
export function BandChoice({ band }: { band: ShownBand }) {
  return (
    <fieldset class="choices" aria-label="Which traces">
      {(Object.keys(BANDS) as ShownBand[]).map(name => (
        <button
          key={name}
          type="button"
          aria-pressed={name === band}
          onClick={() => setQuery({ band: name === 'all' ? null : name }, { replace: false })}
        >
          {BANDS[name]}
        </button>
      ))}
    </fieldset>
  )
}
