import type { ExportTarget } from '../start/exports'

/** The doctor's own settings. What can't be used is one of the problems, and the doctor does without it. */
export interface DoctorSettings {
  /** When the doctor ends the process. */
  seconds: number | undefined
  /** Where an exporter's spans are looked for, by its name, if it was said. */
  collectors: Map<string, URL>
  /** What may read there. A token goes to one exporter's collector only. */
  tokens: Map<string, string>
  problems: string[]
}

/** What a timer can wait for. */
const MAX_SECONDS = 2_147_483

export function doctorSettings(env: NodeJS.ProcessEnv, targets: ExportTarget[]): DoctorSettings {
  const { MILO_DOCTOR_SECONDS, MILO_DOCTOR_COLLECTOR, MILO_DOCTOR_TOKEN } = env
  const problems: string[] = []
  const tried = <T>(read: () => T): T | undefined => {
    try {
      return read()
    } catch (error) {
      problems.push((error as Error).message)
      return undefined
    }
  }
  const names = targets.map(({ name }) => name)
  // Zipkin's own API is where its spans go.
  const others = targets.filter(({ kind }) => kind !== 'zipkin').map(({ name }) => name)
  const mayBe = others.length > 0 ? others : names
  const collectors = tried(() => addresses(named('MILO_DOCTOR_COLLECTOR', MILO_DOCTOR_COLLECTOR, names, mayBe)))
  // A token is for the collector that was meant, and for no other place.
  const token = collectors === undefined ? undefined : MILO_DOCTOR_TOKEN
  const asked = collectors !== undefined && collectors.size > 0 ? [...collectors.keys()] : mayBe
  return {
    seconds: tried(() => secondsOf(MILO_DOCTOR_SECONDS)),
    collectors: collectors ?? new Map(),
    tokens: tried(() => named('MILO_DOCTOR_TOKEN', token, names, asked)) ?? new Map(),
    problems,
  }
}

function secondsOf(text: string | undefined): number | undefined {
  if (!text) return undefined
  const seconds = Number(text)
  if (seconds > 0 && seconds <= MAX_SECONDS) return seconds
  throw new Error(`MILO_DOCTOR_SECONDS must be a number of seconds from 0 to ${MAX_SECONDS}, got '${text}'`)
}

/**
 * Reads a value, or several with the names of exporters, as in `scribe:…,otlp:…`.
 * @param mayBe those that a value without a name may be for
 * @throws Error that doesn't show the value, which may be a secret
 */
function named(variable: string, text: string | undefined, names: string[], mayBe: string[]): Map<string, string> {
  const values = new Map<string, string>()
  if (!text || names.length === 0) return values
  const name = `(?:${names.join('|')}):`
  for (const part of text.trim().split(new RegExp(`\\s*,\\s*(?=${name})`))) {
    const isNamed = new RegExp(`^${name}`).test(part)
    const there = `there ${names.length === 1 ? 'is' : 'are'} ${names.join(', ')}`
    const other = new RegExp(`(?:^|,)\\s*(?!${name})([\\w-]{1,20}):(?=https?:)`).exec(part)?.[1]
    if (other !== undefined) throw new Error(`${variable} names the exporter '${other}'; ${there}`)
    // What else follows a comma may be another's: neither an address nor a token has one.
    if (part.includes(',')) throw new Error(`${variable} has a comma that no exporter's name follows; ${there}`)
    if (!isNamed && mayBe.length !== 1)
      throw new Error(
        `${variable} must say which exporter it is for, as in ${mayBe[0]}:…: there are ${names.join(', ')}`,
      )
    const colon = part.indexOf(':')
    values.set(isNamed ? part.slice(0, colon) : mayBe[0]!, isNamed ? part.slice(colon + 1) : part)
  }
  return values
}

function addresses(values: Map<string, string>): Map<string, URL> {
  const urls = new Map<string, URL>()
  for (const [name, text] of values) {
    const url = URL.canParse(text) ? new URL(text) : undefined
    if (url === undefined || !/^https?:$/.test(url.protocol))
      throw new Error(
        `MILO_DOCTOR_COLLECTOR must be the address of a web interface, such as http://host:2180, or ${name}:http://host:2180`,
      )
    url.search = url.hash = ''
    urls.set(name, url)
  }
  return urls
}
