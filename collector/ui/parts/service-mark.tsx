/** A mark in a service's color. The name must stand beside it for people who can't see the color. */
export function ServiceMark({ color }: { color: number | undefined }) {
  return <span class="service-mark" style={{ background: color === undefined ? 'var(--quiet)' : `var(--s${color})` }} />
}
