import type { BandRegression, Contribution, RootRegression } from '../../http/answers'
import { type Regression, regression } from '../../offline/regression'
import type { LineOf } from '../../store/analysis/result-lines'

/** Compares two windows by their lines: root operations, and operations on their critical paths. */

export type ComparedLine = LineOf<'root'> | LineOf<'operation'>

const MAX_ROOTS = 1000
const MAX_CONTRIBUTIONS = 200

/** @returns those whose mean changed beyond chance first, and the largest change */
export function regressions(
  before: ComparedLine[],
  after: ComparedLine[],
): { regressions: RootRegression[]; truncated?: true } {
  const all = regression(before, after)
  return { regressions: all.slice(0, MAX_ROOTS).map(ofRoot), ...(all.length > MAX_ROOTS && { truncated: true }) }
}

function ofRoot({ root, before, after, bands }: Regression): RootRegression {
  return { ...root, before, after, bands: bands.map(ofBand) }
}

function ofBand({
  band,
  before,
  after,
  change,
  beyondChance,
  contributions,
}: Regression['bands'][number]): BandRegression {
  const listed = contributions
    .slice(0, MAX_CONTRIBUTIONS)
    .map(({ chance, q, ...contribution }): Contribution => contribution)
  return { band, before, after, change, beyondChance, contributions: listed }
}
