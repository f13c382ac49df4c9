/** Why traces that weren't sampled were kept after the fact. docs/retroactive.md has the reasons. */

const WHY = new Map([
  ['error', 'something in it failed'],
  ['slow', 'a call in it took longer than 99% of the calls of its operation'],
  ['lateral', 'one of the same operation was kept right after it'],
  ['requested', 'somebody asked for traces of its operation'],
  ['asked', 'another process kept it, or somebody asked for it by its id'],
])
const MAX_SHOWN = 3

/** Completes "It was kept because …". @param reason a word of the application's, if it is none of Milo's */
export function whyKept(reason: string): string {
  return WHY.get(reason) ?? `the application said so: ${reason}`
}

/** Says that a trace was kept after the fact, and why. */
export function KeptMark({ reasons }: { reasons: string[] }) {
  const more = reasons.length - MAX_SHOWN
  const because = reasons.length === 0 ? [whyKept('asked')] : reasons.slice(0, MAX_SHOWN).map(whyKept)
  const title = `Not sampled, but kept after the fact, because ${because.join(', and because ')}`
  return (
    <span class="kept-mark" title={title}>
      kept{reasons.length > 0 && `: ${reasons.slice(0, MAX_SHOWN).join(', ')}`}
      {more > 0 && ` and ${more} more`}
    </span>
  )
}
