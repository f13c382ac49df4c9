import { readFileSync } from 'node:fs'
import { type Change, type Contribution, type Regression, regression } from '../offline/regression'
import { problemWithEnd } from '../store/analysis/model'
import { formatDuration } from '../trace/duration'
import { UsageError } from './command-error'

/** How many operations of a root operation are listed. */
const LISTED = 10

/**
 * Compares two files of results of `reduce --merge`: which root operations' latencies have changed, and by which operations on their critical
 * paths.
 * @returns lines: a Regression as JSON each or, for people, what has changed beyond chance
 * @throws UsageError if a file can't be read, or has no results
 */
export function compareWindows(before: string, after: string, { json }: { json?: boolean }): string[] {
  const found = regression(linesOf(before), linesOf(after))
  if (json) return found.map(of => JSON.stringify(of))
  const changed = found.flatMap(textOf)
  const compared = found.filter(({ before, after }) => before !== null && after !== null).length
  if (changed.length === 0) changed.push(`${compared} root operations: nothing has changed beyond chance.`)
  return changed
}

function linesOf(file: string): object[] {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new UsageError(`${file} can't be read: ${(error as Error).message}`)
  }
  let lines: Line[]
  try {
    lines = text
      .split('\n')
      .filter(line => line.trim() !== '')
      .map(line => JSON.parse(line) ?? {})
  } catch (error) {
    throw new UsageError(
      `${file} has a line that isn't JSON (${(error as Error).message}): give what reduce --merge wrote`,
    )
  }
  const [window, ...results] = lines
  if (window?.kind !== 'window') throw new UsageError(`${file} isn't results: give what reduce --merge wrote`)
  if (results.some(({ kind }) => kind === 'window'))
    throw new UsageError(`${file} has results of several windows: give a file of each`)
  const end = results.at(-1)?.kind === 'end' ? results.pop() : undefined
  const problem = problemWithEnd(results.length, end?.results)
  if (problem !== undefined) throw new UsageError(`${file}: ${problem}`)
  const ofRoots = results.filter(({ kind }) => kind === 'root' || kind === 'operation')
  if (ofRoots.length > 0) return ofRoots
  throw new UsageError(
    `${file} has no results of root operations: give what reduce --merge wrote, with the analysis 'paths'`,
  )
}

interface Line {
  kind?: string
  /** Of kind `end`. */
  results?: number
}

function textOf({ root, bands: [all] }: Regression): string[] {
  const { before, after, change, beyondChance, contributions } = all!
  const some = contributions.filter(({ beyondChance }) => beyondChance).slice(0, LISTED)
  if (!beyondChance && some.length === 0) return []
  const what = beyondChance ? saidOf(change!) : 'the same, but for chance'
  const lines = [`${nameOf(root)}: ${formatDuration(before!)} → ${formatDuration(after!)}, ${what}`]
  for (const of of some) lines.push(`  ${saidOf(of.change)}  ${nameOf(of)}: ${reasonOf(of)}`)
  return [...lines, '']
}

function reasonOf({ state, before, after, oftenUs, slowerUs }: Contribution): string {
  const calls = (n: number | null) => `${Number((n ?? 0).toPrecision(3))} calls a trace`
  if (state !== 'both') return `${state}, ${calls(state === 'new' ? after.calls : before.calls)}`
  const each = (of: Contribution['before']) => formatDuration(of.calls ? of.us / of.calls : 0)
  const often = `${calls(before.calls)} → ${Number((after.calls ?? 0).toPrecision(3))} (${signed(oftenUs ?? 0)})`
  return `${often}, each ${each(before)} → ${each(after)} (${signed(slowerUs ?? 0)})`
}

function saidOf({ value, low, high }: Change): string {
  return low === null || high === null ? signed(value) : `${signed(value)} ± ${formatDuration((high - low) / 2)}`
}

function signed(us: number): string {
  return `${us < 0 ? '−' : '+'}${formatDuration(Math.abs(us))}`
}

function nameOf({ service, name }: { service: string | null; name: string }): string {
  return service === null ? name : `${service} ${name}`
}
