import type { RetroactiveStats } from '../keep/retroactive'
import type { Settings } from '../start/options'
import type { Calls } from './calls'
import { never, patchReport, type stats, version } from './core'
import type { Asked } from './found'

/** The doctor's page. */

export interface Facts {
  calls: Calls
  /** Undefined while spans are still being looked for. */
  asked: Asked[] | undefined
  isSamplerGiven: boolean
  stats: ReturnType<typeof stats>
  /** Undefined if they can't be used. */
  settings: Settings | undefined
  /** The application's own exit status. */
  status: number
  /** What is wrong with the doctor's own settings. */
  ownProblems: string[]
}

/** What is wrong, a sentence each. */
export function problemsOf(facts: Facts): string[] {
  const { calls, asked, stats, settings, status, ownProblems } = facts
  if (settings === undefined) return ['the settings can’t be used: see the error above']
  if (!settings.enabled) return ['Milo is switched off (MILO_ENABLED)']
  const problems = [...ownProblems]
  if (status !== 0) problems.push(`the application ended with status ${status}: see what it says of that itself`)
  const { patched, untraced } = patchReport()
  for (const [what, reason] of untraced) problems.push(`${what} ${reason} and isn't traced`)
  const libraries = [...patched].filter(what => / \S+$/.test(what))
  const isIdle = calls.peers.size === 0 && calls.served.size === 0
  if (isIdle && libraries.length === 0 && untraced.size === 0) {
    const left = leftOut(settings)
    problems.push(
      left.length === 0
        ? 'nothing that Milo traces was loaded or called: is this the application’s own process?'
        : `nothing that Milo traces was loaded or called, and ${left.join('; ')}`,
    )
  }
  const unkept = noneKept(facts, settings)
  if (unkept !== undefined) problems.push(unkept)
  for (const [name, { sent, dropped, failures, tryLater }] of Object.entries(stats.exports)) {
    if (sent === 0) {
      if (failures + tryLater > 0)
        problems.push(
          `no span could be sent by ${name}: ${failures} connections failed, ${tryLater} answers were ${name === 'scribe' ? `TRY_LATER. MILO_SCRIBE says where Scribe is, now ${places(settings)}: a Milo collector takes spans on port 2100` : '429 or 503'}`,
        )
      else if (asked === undefined)
        problems.push(`the process ended before a span could be sent by ${name}: let it run for a second or two`)
      else problems.push(`no span could be sent by ${name}: nothing answers`)
    }
    if (dropped > 0) problems.push(`${dropped} spans were dropped by ${name}`)
  }
  if (process.env.MILO_SCRIBE && settings.exports.every(({ kind }) => kind !== 'scribe'))
    problems.push('MILO_SCRIBE is set and has no effect, because MILO_EXPORT doesn’t name scribe')
  if (stats.retroactive?.feed === 'unavailable')
    problems.push(
      'nobody where spans go knows which traces to keep after the fact (MILO_RETROACTIVE), so each has the spans of this process alone: send to a Milo collector or relay',
    )
  for (const { exporter, found, note, problem } of asked ?? []) {
    if (problem !== undefined) problems.push(problem)
    if (found === false) problems.push(`what ${exporter} sent was answered OK and isn't found: ${note}`)
  }
  return problems.concat(settings.oddVariables)
}

function places({ scribe }: Settings): string {
  return scribe.map(({ host, port }) => `${host}:${port}`).join(', ')
}

/** Says that no trace can have appeared, if that is so: the doctor's own span is forced, and arrives all the same. */
function noneKept({ calls, stats, isSamplerGiven }: Facts, { sampler, retroactive }: Settings): string | undefined {
  const { tracesKept, tracesForced, tracesNotKept } = stats
  const isContinued = [...calls.served.values()].some(({ continued }) => continued > 0)
  if (!isSamplerGiven || retroactive !== undefined || isContinued || tracesKept > 0 || tracesForced > 1)
    return undefined
  if (tracesNotKept === 0 && sampler !== never) return undefined
  const text = `MILO_SAMPLER=${process.env.MILO_SAMPLER}`
  const what = sampler === never ? 'keeps no trace that begins here' : `kept none of ${times(tracesNotKept, 'trace')}`
  return `${text} ${what}: leave it out to see every trace`
}

/** The exporters that have sent spans which nobody could be asked for. */
export function unknownTo({ asked, stats }: Facts): string[] {
  return Object.entries(stats.exports)
    .filter(([name, { sent }]) => sent > 0 && asked?.find(({ exporter }) => exporter === name)?.found === undefined)
    .map(([name]) => name)
}

/** What Milo could trace and leaves to another tracer, or was told to leave. */
function leftOut(settings: Settings): string[] {
  const left = [...patchReport().left].map(
    ([plugin, tracer]) => `${plugin} is left to ${tracer}, whose spans don't come here`,
  )
  const off = settings.pluginNames.filter(name => name.startsWith('-'))
  return [...left, ...off.map(name => `${name.slice(1)} is switched off (MILO_PLUGINS)`)]
}

/** @param problems what is wrong: see problemsOf */
export function page(facts: Facts, problems: string[]): string {
  const { calls, asked, isSamplerGiven, stats, settings } = facts
  const lines: string[] = []
  const add = (title: string, texts: string[]) => {
    for (const [i, text] of texts.entries()) lines.push(`  ${(i === 0 ? title : '').padEnd(12)} ${text}`)
  }
  const of = settings === undefined ? '' : `, service ${settings.service} on ${settings.host}`
  if (settings?.enabled) {
    const { patched, untraced } = patchReport()
    add('patched', [[...patched].join(', ') || 'nothing'])
    add(
      'not patched',
      [...untraced].map(([what, reason]) => `${what} ${reason}`),
    )
    add('left out', leftOut(settings))
    add(
      'calls to',
      [...calls.peers.values()].map(
        ({ over, peer, carrier, calls, failed }) =>
          `${peer} over ${over}: ${times(calls, 'call')}, ${failed} failed; the trace travels in: ${carrier}`,
      ),
    )
    add(
      'serves',
      [...calls.served.values()].map(
        ({ over, requests, failed, continued }) =>
          `${over}: ${times(requests, 'request')}, ${failed} failed; ${continued} continued their caller's trace`,
      ),
    )
    add('sampling', [
      isSamplerGiven
        ? `as MILO_SAMPLER says: of the traces that began here ${stats.tracesKept} were kept and ${stats.tracesNotKept} weren't; only calls of kept ones are listed here`
        : 'always, for this look',
    ])
    add(
      'spans',
      Object.entries(stats.exports).map(
        ([name, { ended, sent, buffered, inFlight, spooled, dropped }]) =>
          `${name}${name === 'scribe' ? ` (${settings.scribe.map(({ host, port }) => `${host}:${port}`).join(', ')})` : ''}: ${ended} ended = ${sent} sent + ${buffered + inFlight} waiting + ${spooled} spooled + ${dropped} dropped`,
      ),
    )
    if (stats.retroactive !== undefined) add('history', [historyOf(stats.retroactive)])
    add(
      'found',
      asked === undefined
        ? ['it isn’t known: the process ended before the answer']
        : asked.map(({ exporter, url, note }) => `${exporter}: ${url === undefined ? '' : `${url}: `}${note}`),
    )
  }
  const unknown = unknownTo(facts)
  if (problems.length > 0) add('to do', problems)
  else if (unknown.length > 0) add('not known', [`sent by ${unknown.join(', ')}; whether it is found isn’t known`])
  else add('all is well', [''])
  return `\nMilo ${version} on Node ${process.version}, process ${process.pid}${of}\n${lines.map(line => line.trimEnd()).join('\n')}\n`
}

const FEED = {
  off: 'nobody was asked what to keep, because nothing was recorded: that needs a MILO_SAMPLER',
  connecting: 'what to keep was asked and is not answered yet',
  connected: 'a collector tells what to keep',
  unavailable: 'nobody tells what to keep',
}

function historyOf({ spans, seconds, kept, asked, refused, partial, feed }: RetroactiveStats): string {
  const sum = Object.values(kept).reduce((a, b) => a + b, 0)
  const counts = `${sum} kept, ${asked} sent because others kept them, ${refused} refused, ${partial} sent in part`
  return `${times(spans, 'span')} of the last ${Math.round(seconds)} s; traces: ${counts}; ${FEED[feed]}`
}

function times(n: number, what: string): string {
  return `${n} ${n === 1 ? what : `${what}s`}`
}
