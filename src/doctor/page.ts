import type { RetroactiveStats } from '../keep/retroactive'
import type { Settings } from '../start/options'
import type { Calls } from './calls'
import { patchReport, type stats, version } from './core'
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
}

/** What is wrong, a sentence each. */
export function problemsOf({ calls, asked, stats, settings }: Facts): string[] {
  if (settings === undefined) return ['the settings can’t be used: see the error above']
  if (!settings.enabled) return ['Milo is switched off (MILO_ENABLED)']
  const problems: string[] = []
  const { patched, untraced } = patchReport()
  for (const [what, reason] of untraced) problems.push(`${what} ${reason} and isn't traced`)
  const libraries = [...patched].filter(what => / \S+$/.test(what))
  const isIdle = calls.peers.size === 0 && calls.served.size === 0
  if (isIdle && libraries.length === 0 && untraced.size === 0)
    problems.push('nothing that Milo traces was loaded or called: is this the application’s own process?')
  for (const [name, { sent, dropped, failures, tryLater }] of Object.entries(stats.exports)) {
    if (sent === 0)
      problems.push(
        `no span could be sent by ${name}: ${failures} connections failed, ${tryLater} answers were TRY_LATER`,
      )
    if (dropped > 0) problems.push(`${dropped} spans were dropped by ${name}`)
  }
  if (process.env.MILO_SCRIBE && settings.exports.every(({ kind }) => kind !== 'scribe'))
    problems.push('MILO_SCRIBE is set and has no effect, because MILO_EXPORT doesn’t name scribe')
  if (stats.retroactive?.feed === 'unavailable')
    problems.push(
      'nobody where spans go knows which traces to keep after the fact (MILO_RETROACTIVE), so each has the spans of this process alone: send to a Milo collector or relay',
    )
  for (const { exporter, found, note } of asked ?? []) {
    if (found === false) problems.push(`what ${exporter} sent was answered OK and isn't found: ${note}`)
  }
  for (const [name, remedy] of settings.unknownVariables) problems.push(`${name} isn't a variable of Milo's: ${remedy}`)
  return problems
}

/** @param problems what is wrong: see problemsOf */
export function page({ calls, asked, isSamplerGiven, stats, settings }: Facts, problems: string[]): string {
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
        ? 'as MILO_SAMPLER says; only calls of traces that were kept are listed here'
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
  add(problems.length === 0 ? 'all is well' : 'to do', problems.length === 0 ? [''] : problems)
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
