import { writeSync } from 'node:fs'
import { Calls } from './calls'
import { currentSettings, flush, isLauncher, Kind, log, register, setTimeout, startSpan, stats } from './core'
import { type Asked, lookFor } from './found'
import { page, problemsOf, unknownTo } from './page'
import { type DoctorSettings, doctorSettings } from './settings'

/**
 * `node -r milo/register/doctor app.js`: runs the application as milo/register does, and says at its end, on standard error, what was
 * traced and whether spans arrive and are found. It is for a look, not for production: every trace is kept unless MILO_SAMPLER says
 * otherwise. The process exits with 1 if something is wrong, and with 2 if spans were sent and nobody could be asked for them.
 *
 *     at the start     a span of the doctor's own is sent, and looked for where it went
 *     at the end       the page is written: when nothing is left to do, at SIGTERM or SIGINT, or after MILO_DOCTOR_SECONDS
 */

const FLUSH_MS = 2_000
const SIGNALS = ['SIGTERM', 'SIGINT'] as const

export function examine(env: NodeJS.ProcessEnv = process.env): void {
  const isSamplerGiven = Boolean(env.MILO_SAMPLER)
  if (!isSamplerGiven) env.MILO_SAMPLER = 'always'
  register()
  // The processes that this one starts have a doctor of their own.
  if (isLauncher(process)) return
  const own = doctorSettings(env, currentSettings()?.exports ?? [])
  // The page comes at the end, which may be far away.
  for (const problem of own.problems) log('error', problem)
  const calls = new Calls()
  calls.watch()
  let asked: Asked[] | undefined
  const arrival = arrive(own).then(result => {
    asked = result
  })
  let isWritten = false
  /** @returns the status that the process should exit with */
  const write = (ended: unknown) => {
    if (isWritten) return 0
    isWritten = true
    const facts = {
      calls,
      asked,
      isSamplerGiven,
      stats: stats(),
      settings: currentSettings(),
      status: Number(ended ?? 0),
      ownProblems: own.problems,
    }
    const problems = problemsOf(facts)
    try {
      writeSync(2, page(facts, problems))
    } catch {
      // Standard error is closed or full: the exit status says it too.
    }
    return problems.length > 0 ? 1 : unknownTo(facts).length > 0 ? 2 : 0
  }
  const end = async () => {
    await arrival
    await flush(FLUSH_MS)
    return write(process.exitCode)
  }
  const leave = () => void end().then(status => process.exit(status))
  process.once('beforeExit', () => {
    void end().then(status => {
      process.exitCode ||= status
    })
  })
  process.once('exit', code => {
    const status = write(code)
    if (code === 0 && status > 0) process.exitCode = status
  })
  for (const signal of SIGNALS) {
    process.on(signal, () => {
      // Otherwise the application ends in its own way.
      if (process.listenerCount(signal) === 1) leave()
    })
  }
  if (own.seconds !== undefined) setTimeout(leave, own.seconds * 1000).unref()
}

/** Sends a span and looks for it. */
async function arrive(own: DoctorSettings): Promise<Asked[]> {
  const settings = currentSettings()
  if (settings?.enabled !== true) return []
  const span = startSpan(Kind.LOCAL, 'milo.doctor', false, true)
  span.annotate('milo.doctor', process.pid).end()
  await flush(FLUSH_MS)
  const { exports } = stats()
  const sent = settings.exports.filter(({ name }) => exports[name]!.sent > 0)
  return lookFor(span.traceId, { ...settings, exports: sent }, own)
}
