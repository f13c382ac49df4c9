import type { ExportTarget } from '../start/exports'
import type { Settings } from '../start/options'
import { apart, clock, describe, expectTracing, GenuinePromise, setTimeout } from './core'

/** Asks where spans go to whether one is found there. */

export interface Asked {
  exporter: string
  /** Where it was looked for; undefined if nobody can be asked. */
  url: string | undefined
  /** Undefined if the answer says neither. */
  found: boolean | undefined
  /** What to say about it. */
  note: string
}

/** A span is looked for so long; a collector may take a second to make it findable. */
const LOOK_MS = 5_000
const AGAIN_MS = 250
const REPLY_MS = 3_000
const MAX_REPLY_BYTES = 64 * 1024
/** The port of a collector's HTTP API, where Scribe's is the only one that is configured. */
const COLLECTOR_PORT = 2180

/** @param traceId 16 or 32 hex digits */
export async function lookFor(traceId: string, settings: Settings, env: NodeJS.ProcessEnv): Promise<Asked[]> {
  const asked: Asked[] = []
  for (const target of settings.exports) asked.push(await lookAt(target, traceId, settings, env))
  return asked
}

async function lookAt(
  target: ExportTarget,
  traceId: string,
  settings: Settings,
  env: NodeJS.ProcessEnv,
): Promise<Asked> {
  const exporter = target.name
  const given = env.MILO_DOCTOR_COLLECTOR
  let url: string
  if (given && target.kind !== 'zipkin') url = `${given.replace(/\/$/, '')}/api/traces/${traceId}`
  else if (target.kind === 'scribe')
    url = `http://${bracketed(settings.scribe[0]!.host)}:${COLLECTOR_PORT}/api/traces/${traceId}`
  else {
    const origin = `${target.address.tls === undefined ? 'http' : 'https'}://${target.authority}`
    const path =
      target.kind === 'zipkin' ? target.path.replace(/\/spans(\?.*)?$/, `/trace/${traceId}`) : `/api/traces/${traceId}`
    url = origin + path
  }
  const headers: Record<string, string> = target.kind === 'scribe' ? {} : Object.fromEntries(target.headers)
  if (env.MILO_DOCTOR_TOKEN) headers.authorization = `Bearer ${env.MILO_DOCTOR_TOKEN}`
  const remedy =
    target.kind === 'zipkin'
      ? 'look for it there yourself'
      : 'set MILO_DOCTOR_COLLECTOR to the address of the collector’s web interface, or look for it there yourself'
  const began = clock.now()
  for (;;) {
    const { status, body, error } = await get(url, headers)
    const ms = Math.round(clock.now() - began)
    if (status === 200) return { exporter, url, found: true, note: `found after ${ms} ms` }
    if (status === 401 || status === 403)
      return {
        exporter,
        url,
        found: undefined,
        note: 'it asks for credentials: set MILO_DOCTOR_TOKEN to a token that may read',
      }
    if (error !== undefined)
      return { exporter, url: undefined, found: undefined, note: `${url} can't be asked (${error}): ${remedy}` }
    const knows = status === 404 && (target.kind === 'zipkin' || body.includes('MILO_'))
    if (!knows)
      return {
        exporter,
        url: undefined,
        found: undefined,
        note: `${url} answers ${status}, which isn't a collector's answer: ${remedy}`,
      }
    if (ms > LOOK_MS) return { exporter, url, found: false, note: `not found within ${LOOK_MS / 1000} s` }
    await new GenuinePromise(resolve => setTimeout(resolve as () => void, AGAIN_MS))
  }
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}

interface Reply {
  status: number
  body: string
  error: string | undefined
}

function get(url: string, headers: Record<string, string>): Promise<Reply> {
  return new GenuinePromise<Reply>(resolve => {
    const fail = (error: unknown) => resolve({ status: 0, body: '', error: describe(error) })
    expectTracing()
    apart(() => {
      try {
        const { request } = (
          url.startsWith('https:') ? require('node:https') : require('node:http')
        ) as typeof import('node:http')
        const asked = request(url, { headers, agent: false, timeout: REPLY_MS }, res => {
          let body = ''
          res.setEncoding('latin1')
          res.on('data', (text: string) => {
            if (body.length < MAX_REPLY_BYTES) body += text
            else res.destroy()
          })
          res.on('close', () => resolve({ status: res.statusCode ?? 0, body, error: undefined }))
          res.on('error', () => {})
        })
        asked.on('timeout', () => asked.destroy(new Error(`no answer within ${REPLY_MS / 1000} s`)))
        asked.on('error', fail)
        asked.end()
      } catch (error) {
        fail(error)
      }
    })
  })
}
