/** @returns what to say of variables that aren't known, or have no effect without another one */
export function oddVariables(
  names: string[],
  known: readonly string[],
  env: NodeJS.ProcessEnv,
  { exports, retroactive, spool }: { exports: { kind: string }[]; retroactive?: unknown; spool?: unknown },
): string[] {
  const others = exports.some(({ kind }) => kind !== 'scribe')
  return names.flatMap(name => {
    if (!known.includes(name)) return `${name} isn't a variable of Milo's and is ignored: ${meantBy(name, known)}`
    const needed = name.startsWith('MILO_SPOOL_')
      ? spool === undefined && 'MILO_SPOOL'
      : name.startsWith('MILO_RETROACTIVE_')
        ? retroactive === undefined && 'MILO_RETROACTIVE=1'
        : !others && 'an exporter over HTTP in MILO_EXPORT'
    return needed && env[name] ? `${name} has no effect without ${needed}` : []
  })
}

/** Says what was meant by a variable that isn't one of those that are known. */
function meantBy(name: string, known: readonly string[]): string {
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
