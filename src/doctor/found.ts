import type { HttpTarget } from '../export/http/target'
import type { ExportTarget } from '../start/exports'
import type { Settings } from '../start/options'
import { apart, clock, describe, expectTracing, GenuinePromise, setTimeout } from './core'
import type { DoctorSettings } from './settings'

/** Asks where spans go to whether one is found there. */

export interface Asked {
  exporter: string
  /** Where it was looked for; undefined if nobody can be asked. */
  url: string | undefined
  /** Undefined if the answer says neither. */
  found: boolean | undefined
  /** What to say about it. */
  note: string
  /** What is wrong where it is sent to, if that could be seen. */
  problem?: string
}

/** A span is looked for so long; a collector may take a second to make it findable. */
const LOOK_MS = 5_000
const AGAIN_MS = 250
const REPLY_MS = 3_000
const MAX_REPLY_BYTES = 64 * 1024
/** The port of a collector's HTTP API, where Scribe's is the only one that is configured. */
const COLLECTOR_PORT = 2180

/** @param traceId 16 or 32 hex digits */
export async function lookFor(traceId: string, settings: Settings, own: DoctorSettings): Promise<Asked[]> {
  const asked: Asked[] = []
  for (const target of settings.exports) asked.push(await lookAt(target, traceId, settings, own))
  return asked
}

async function lookAt(target: ExportTarget, traceId: string, settings: Settings, own: DoctorSettings): Promise<Asked> {
  const exporter = target.name
  const isZipkins = target.kind === 'zipkin' && !own.collectors.has(exporter)
  const { url, headers } = placeOf(target, traceId, settings, own)
  const remedy =
    'set MILO_DOCTOR_COLLECTOR to the address of the collector’s web interface, or look for it there yourself'
  const began = clock.now()
  for (;;) {
    const { status, body, error } = await ask(url, headers)
    const ms = Math.round(clock.now() - began)
    // There are servers that answer 200 to everything.
    if (status === 200 && /^\s*[[{]/.test(body) && body.includes(traceId))
      return { exporter, url, found: true, note: `found after ${ms} ms` }
    if (status === 401 || status === 403)
      return {
        exporter,
        url,
        found: undefined,
        note: 'it asks for credentials: set MILO_DOCTOR_TOKEN to a token that may read',
      }
    if (error !== undefined)
      return { exporter, url: undefined, found: undefined, note: `${url} can't be asked (${error}): ${remedy}` }
    // The latter are Jaeger's words.
    const knows = status === 404 && (isZipkins || /MILO_|trace not found/.test(body))
    if (!knows) {
      const note = `${url} answers ${status}, which isn't a collector's answer: ${remedy}`
      const problem = target.kind === 'scribe' ? undefined : await problemOf(target)
      return { exporter, url: undefined, found: undefined, note, problem }
    }
    if (ms > LOOK_MS) return { exporter, url, found: false, note: `not found within ${LOOK_MS / 1000} s` }
    await new GenuinePromise(resolve => setTimeout(resolve as () => void, AGAIN_MS))
  }
}

/** What is asked for an exporter's spans, and what is shown of that: an exporter's headers, a token and credentials go to one origin each. */
function placeOf(
  target: ExportTarget,
  traceId: string,
  { scribe }: Settings,
  { collectors, tokens }: DoctorSettings,
): { url: string; headers: Record<string, string> } {
  const headers: Record<string, string> = {}
  const url = new URL(collectors.get(target.name) ?? ownAddress(target, scribe[0]!.host))
  if (target.kind === 'zipkin' && !collectors.has(target.name))
    url.pathname = target.path.replace(/(\/spans)?(\?.*)?$/, `/trace/${traceId}`)
  else url.pathname = `${url.pathname.replace(/\/$/, '')}/api/traces/${traceId}`
  if (target.kind !== 'scribe' && url.origin === originOf(target))
    Object.assign(headers, Object.fromEntries(target.headers))
  if (url.username !== '' || url.password !== '') {
    headers.authorization = `Basic ${Buffer.from(credentialsOf(url)).toString('base64')}`
    url.username = url.password = ''
  }
  const token = tokens.get(target.name)
  if (token !== undefined) headers.authorization = `Bearer ${token}`
  return { url: url.href, headers }
}

function ownAddress(target: ExportTarget, scribeHost: string): string {
  return target.kind === 'scribe' ? `http://${bracketed(scribeHost)}:${COLLECTOR_PORT}` : originOf(target)
}

function credentialsOf({ username, password }: URL): string {
  const text = `${username}:${password}`
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** Sends an exporter's peer nothing, as its protocol has it. @returns what is wrong with the answer */
async function problemOf(target: HttpTarget): Promise<string | undefined> {
  const { kind, name, path, headers } = target
  const url = originOf(target) + path
  const isOtlp = kind === 'otlp'
  const type = isOtlp ? 'application/x-protobuf' : 'application/json'
  const reply = await ask(url, { ...Object.fromEntries(headers), 'content-type': type }, isOtlp ? '' : '[]')
  // Both answer in the type of the request, or with nothing.
  if (reply.status < 200 || reply.status > 299 || reply.body === '' || /protobuf|json/.test(reply.type))
    return undefined
  const expected = isOtlp ? 'an OTLP endpoint' : 'a Zipkin server'
  return `${url} answers, but not as ${expected} or a Milo collector does (${reply.type || 'no content-type'}): is it the address for ${name}?`
}

function originOf({ address, authority }: HttpTarget): string {
  return `${address.tls === undefined ? 'http' : 'https'}://${authority}`
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}

interface Reply {
  status: number
  /** The content-type. */
  type: string
  body: string
  error: string | undefined
}

/** @param post what to post; absent: a GET */
function ask(url: string, headers: Record<string, string>, post?: string): Promise<Reply> {
  return new GenuinePromise<Reply>(resolve => {
    const fail = (error: unknown) => resolve({ status: 0, type: '', body: '', error: describe(error) })
    const method = post === undefined ? 'GET' : 'POST'
    expectTracing()
    apart(() => {
      try {
        const { request } = (
          url.startsWith('https:') ? require('node:https') : require('node:http')
        ) as typeof import('node:http')
        const asked = request(url, { method, headers, agent: false, timeout: REPLY_MS }, res => {
          let body = ''
          res.setEncoding('latin1')
          res.on('data', (text: string) => {
            if (body.length < MAX_REPLY_BYTES) body += text
            else res.destroy()
          })
          const type = res.headers['content-type'] ?? ''
          res.on('close', () => resolve({ status: res.statusCode ?? 0, type, body, error: undefined }))
          res.on('error', () => {})
        })
        asked.on('timeout', () => asked.destroy(new Error(`no answer within ${REPLY_MS / 1000} s`)))
        asked.on('error', fail)
        asked.end(post)
      } catch (error) {
        fail(error)
      }
    })
  })
}
