import { useEffect, useMemo, useState } from 'preact/hooks'
import type { UsualAnswer } from '../../src/http/answers'
import type { Side, Usual } from '../../src/trace'
import { requestJson } from '../shell/json'

/** How long calls of an operation usually take; undefined where nobody knows. Without a side, that of those who answer comes first. */
export type UsualOf = (service: string | null, name: string, side?: Side) => Usual | undefined

/** What is known of each service's operations, by side and name. A promise while it is asked for. */
const known = new Map<string, Map<string, Usual> | Promise<unknown>>()
const SIDES: Side[] = ['server', 'local', 'client']
/** The API takes no more at once, and nobody looks at more. */
const MAX_SERVICES = 50
/** What was known is asked for again after this time. */
const KEPT_MS = 10 * 60_000

/** Asks for what is usual for operations of these services, once for all that is shown. A page does without it if it can't be had. */
export function useUsual(services: (string | null)[]): UsualOf {
  const [answers, setAnswers] = useState(0)
  const wanted = [...new Set(services)].filter(service => service !== null).slice(0, MAX_SERVICES)
  useEffect(() => {
    let gone = false
    const fresh = wanted.filter(service => !known.has(service))
    if (fresh.length > 0) ask(fresh)
    const waited = wanted.map(service => known.get(service)).filter(one => one instanceof Promise)
    if (waited.length > 0) Promise.all(waited).then(() => !gone && setAnswers(n => n + 1))
    return () => {
      gone = true
    }
  }, [JSON.stringify(wanted)])
  return useMemo(
    () => (service, name, side) => {
      const operations = service === null ? undefined : known.get(service)
      if (operations === undefined || operations instanceof Promise) return undefined
      if (side !== undefined) return operations.get(side + name)
      for (const one of SIDES) if (operations.has(one + name)) return operations.get(one + name)
      return undefined
    },
    [answers, JSON.stringify(wanted)],
  )
}

function ask(services: string[]): void {
  const query = new URLSearchParams(services.map(service => ['service', service]))
  const asked = requestJson<UsualAnswer>(`api/usual?${query}`).then(
    ({ operations }) => {
      for (const service of services) known.set(service, new Map())
      for (const { service, side, name, ...usual } of operations) {
        const ofService = known.get(service)
        if (ofService instanceof Map) ofService.set(side + name, usual)
      }
      setTimeout(() => forget(services), KEPT_MS)
    },
    () => forget(services),
  )
  for (const service of services) known.set(service, asked)
}

function forget(services: string[]): void {
  for (const service of services) known.delete(service)
}
