/** A service's colour, for people who see it; its name stands beside it. */
export function ServiceMark({ colour }: { colour: number | undefined }) {
  return (
    <span class="service-mark" style={{ background: colour === undefined ? 'var(--quiet)' : `var(--s${colour})` }} />
  )
}
