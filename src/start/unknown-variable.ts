/** Says what was meant by a variable that isn't one of those that are known. */
export function meantBy(name: string, known: readonly string[]): string {
  const near = known
    .map(known => ({ known, steps: distance(name.toUpperCase(), known) }))
    .sort((a, b) => a.steps - b.steps)[0]!
  const isNear = near.steps <= Math.max(2, name.length / 4) || name.startsWith(near.known)
  return isNear ? `did you mean ${near.known}?` : `there are ${known.join(', ')}`
}

/** How many letters to insert, remove or change to make one word the other (Levenshtein). */
function distance(a: string, b: string): number {
  const row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    let corner = i - 1
    row[0] = i
    for (let j = 1; j <= b.length; j++) {
      const steps = Math.min(row[j]! + 1, row[j - 1]! + 1, corner + (a[i - 1] === b[j - 1] ? 0 : 1))
      corner = row[j]!
      row[j] = steps
    }
  }
  return row[b.length]!
}
