import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from '../helpers/until'

/**
 * What all tests of one run share is started once. Test files run side by side, in mocha's workers, which are processes
 * of their own: the process that began the run starts everything and writes into a folder what became of it, one file for
 * each; workers find the folder's name in their environment.
 */

const RUN = 'MILO_TEST_RUN'
/** An installation from Debian's packages may be a part of the start. */
const START_MS = 600_000

interface Outcome<T> {
  value?: T
  error?: string
}

const starters = new Map<string, () => Promise<unknown>>()

/**
 * A function that starts something when it is first called in a run of tests, and afterwards returns the same.
 * @param start what it resolves to crosses to other processes as JSON: functions don't
 */
export function oncePerRun<T>(name: string, start: () => Promise<T>): () => Promise<T> {
  let started: Promise<T> | undefined
  const once = () => {
    started ??= process.env[RUN] === undefined ? start() : outcome(join(process.env[RUN], name))
    return started
  }
  starters.set(name, once)
  return once
}

async function outcome<T>(file: string): Promise<T> {
  const read = () => readFile(file, 'utf8').catch(() => undefined)
  const { value, error } = JSON.parse(await until(`the test run tells of ${file}`, read, START_MS)) as Outcome<T>
  if (error !== undefined) throw new Error(error)
  return value as T
}

let folder: string | undefined

/** Starts everything of the kind, side by side, and tells workers that are started from now on. */
export function startShared(): void {
  folder = mkdtempSync(join(tmpdir(), 'milo-test-run-'))
  for (const [name, start] of starters) {
    start().then(
      value => tell(name, { value }),
      error => tell(name, { error: String((error as Error)?.stack ?? error) }),
    )
  }
  process.env[RUN] = folder
}

function tell(name: string, outcome: Outcome<unknown>): void {
  // The run may be over.
  if (folder === undefined) return
  const file = join(folder, name)
  writeFileSync(`${file}.part`, JSON.stringify(outcome))
  renameSync(`${file}.part`, file)
}

export function forgetShared(): void {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true })
  folder = undefined
}
