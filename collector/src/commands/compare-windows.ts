import { createReadStream } from 'node:fs'
import { type Change, type Contribution, type Regression, regression } from '../offline/regression'
import { unzipped } from '../receive/unzipped'
import type { ResultLine } from '../store/analysis/lines'
import { ResultReader } from '../store/analysis/result-reader'
import { formatDuration } from '../trace/duration'
import { CommandError } from './command-error'
import { unreadable } from './unreadable-results'

/** How many operations of a root operation are listed. */
const LISTED = 10

/**
 * Compares two files of results of `reduce --merge`: which root operations' latencies have changed, and by which operations on their critical
 * paths.
 * @returns lines: a Regression as JSON each or, for people, what has changed beyond chance
 * @throws CommandError if a file can't be read, or isn't the whole results of a window
 */
export async function compareWindows(before: string, after: string, { json }: { json?: boolean }): Promise<string[]> {
  const found = regression(await linesOf(before), await linesOf(after))
  if (json) return found.map(of => JSON.stringify(of))
  const changed = found.flatMap(textOf)
  const compared = found.filter(({ before, after }) => before !== null && after !== null).length
  if (changed.length === 0) changed.push(`${compared} root operations: nothing has changed beyond chance.`)
  return changed
}

/** Returns the lines about root operations. */
async function linesOf(file: string): Promise<object[]> {
  const reader = new ResultReader(file)
  const ofRoots: object[] = []
  const keep = ({ result }: { result: ResultLine }) => {
    if (result.kind === 'root' || result.kind === 'operation') ofRoots.push(result)
  }
  try {
    for await (const chunk of unzipped(createReadStream(file))) for (const line of reader.add(chunk)) keep(line)
    for (const line of reader.end()) keep(line)
  } catch (error) {
    throw unreadable(file, error)
  }
  if (ofRoots.length > 0 || reader.results === 0) return ofRoots
  throw new CommandError(
    `${file} has no results of root operations: give what reduce --merge wrote, with the analysis 'paths'`,
  )
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
