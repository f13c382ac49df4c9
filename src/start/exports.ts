import { URL } from 'node:url'
import { MiloError } from '../errors'
import type { HttpTarget } from '../export/http/target'
import { TOKEN } from '../trace/baggage'
import { show } from './show'
import { type TlsOptions, tlsTerms } from './tls'

/** One exporter, with what its address can't say. */
export interface ExportTo {
  /** `scribe`, `otlp:http://host:4318` or `zipkin:https://host`. */
  to: string
  /** HTTP headers, such as a token. They are never logged. */
  headers?: Record<string, string>
  /** For https. Default: the authorities that Node trusts. */
  tls?: TlsOptions
}

/** An exporter as it is configured. Scribe's addresses are settings of their own. */
export type ExportTarget = { kind: 'scribe'; name: 'scribe' } | HttpTarget

/** Where each kind is found if nothing else is said. */
const DEFAULT_URLS: Record<HttpTarget['kind'], string> = {
  otlp: 'http://127.0.0.1:4318',
  zipkin: 'http://127.0.0.1:9411',
}
const FORMS = "'scribe', 'otlp:http://host:4318' or 'zipkin:http://host:9411', several separated by commas"

const MAX_HEADER_NAME_LENGTH = 256
/** What RFC 9110 allows. */
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]{0,8192}$/
/** Headers by which the peer finds the request's end, or that Milo sets itself. */
const OWN_HEADERS =
  /^(host|content-(length|type|encoding)|transfer-encoding|connection|keep-alive|expect|upgrade|te|trailer)$/i

/**
 * @param value the option or the variable
 * @param headers MILO_EXPORT_HEADERS: `name=value`, values percent-encoded, or `exporter:name=value`, separated by commas
 * @throws MiloError that names the value, without secrets, and the remedy
 */
export function exportTargets(value: unknown, headers: string | undefined): ExportTarget[] {
  const parts = typeof value === 'string' ? value.split(',').map(part => part.trim()) : value
  if (!Array.isArray(parts) || parts.length === 0) throw bad(`export must be ${FORMS}; got ${show(value)}`)
  const urls = new Set<string>()
  const names = new Map<string, number>()
  const unsaid: HttpTarget[] = []
  const targets = parts.map((part): ExportTarget => {
    const to: ExportTo = typeof part === 'string' ? { to: part } : part
    if (typeof to !== 'object' || to === null || typeof to.to !== 'string')
      throw bad(`export must be ${FORMS}, or a list of these and of { to, headers, tls }; got ${show(part)}`)
    for (const key of Object.keys(to))
      if (!['to', 'headers', 'tls'].includes(key)) throw bad(`an element of export has to, headers and tls, got ${key}`)
    const [, kind, text] = /^([a-z]+)(?::(.*))?$/.exec(to.to) ?? []
    const url = kind === 'otlp' || kind === 'zipkin' ? httpUrl(text || DEFAULT_URLS[kind], to.to) : undefined
    if (url === undefined && to.to !== 'scribe')
      throw bad(
        `export must be ${FORMS}; got '${hidden(to.to)}'${kind === 'scribe' ? '; MILO_SCRIBE has its address' : ''}`,
      )
    const id = `${kind} ${url?.href ?? ''}`
    if (urls.has(id)) throw bad(`export has '${hidden(to.to)}' twice`)
    urls.add(id)
    if (url === undefined) {
      if (to.headers !== undefined || to.tls !== undefined)
        throw bad("export's scribe has neither headers nor tls; scribeTls is an option of its own")
      return { kind: 'scribe', name: 'scribe' }
    }
    const target = httpTarget(kind as HttpTarget['kind'], url, to)
    const nth = (names.get(target.kind) ?? 0) + 1
    names.set(target.kind, nth)
    if (nth > 1) target.name = `${target.kind}-${nth}`
    if (to.headers === undefined) unsaid.push(target)
    return target
  })
  if (headers !== undefined && unsaid.length > 0) addHeaders(unsaid, headers)
  return targets
}

function httpUrl(text: string, whole: string): URL {
  let url: URL | undefined
  try {
    url = new URL(text)
  } catch {
    // Said below.
  }
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.hostname === '')
    throw bad(
      `export must have an address that begins with http:// or https://, as in 'otlp:http://host:4318'; got '${hidden(whole)}'`,
    )
  return url
}

function httpTarget(kind: HttpTarget['kind'], url: URL, { headers = {}, tls }: ExportTo): HttpTarget {
  const isTls = url.protocol === 'https:'
  if (tls !== undefined && !isTls) throw bad(`export has tls for '${kind}:${url.origin}', which isn't https://`)
  const target: HttpTarget = {
    kind,
    name: kind,
    address: {
      // Sockets take IPv6 addresses without brackets.
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: Number(url.port) || (isTls ? 443 : 80),
      ...(isTls && { tls: tlsTerms('MILO_BAD_EXPORT', `tls of ${kind}:${url.origin}`, tls ?? {}) }),
    },
    authority: url.host,
    path: pathOf(kind, url),
    headers: [],
  }
  if (url.username !== '' || url.password !== '') {
    target.headers.push(['authorization', `Basic ${Buffer.from(credentials(url)).toString('base64')}`])
  }
  if (typeof headers !== 'object' || headers === null || Array.isArray(headers))
    throw bad(`headers of '${kind}:${url.origin}' must be an object of names and values, got ${show(headers)}`)
  for (const [name, value] of Object.entries(headers)) setHeader(target, name, value)
  return target
}

function credentials({ username, password, origin }: URL): string {
  try {
    return `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  } catch {
    throw bad(`export must have percent-encoded credentials for '${origin}': a % isn't followed by two hex digits`)
  }
}

/** An OTLP address is a base, as OTEL_EXPORTER_OTLP_ENDPOINT; a Zipkin address with a path is whole, as Zipkin's reporters have it. */
function pathOf(kind: HttpTarget['kind'], { pathname, search }: URL): string {
  if (kind === 'zipkin') return `${pathname === '/' ? '/api/v2/spans' : pathname}${search}`
  const base = pathname.replace(/\/$/, '')
  return `${base.endsWith('/v1/traces') ? base : `${base}/v1/traces`}${search}`
}

function addHeaders(targets: HttpTarget[], text: string): void {
  for (const part of text.split(',')) {
    if (part.trim() === '') continue
    const at = part.indexOf('=')
    const left = part.slice(0, Math.max(at, 0)).trim()
    const colon = left.lastIndexOf(':')
    const [exporter, name] = [left.slice(0, Math.max(colon, 0)), left.slice(colon + 1)]
    if (at === -1)
      throw bad('MILO_EXPORT_HEADERS must be name=value, several separated by commas; one of them has no =')
    const names = targets.map(target => target.name)
    if (colon === -1 && targets.length > 1)
      throw bad(
        `MILO_EXPORT_HEADERS must say which exporter gets '${name}', as in ${names[0]}:${name}=…: there are ${names.join(', ')}`,
      )
    const target = colon === -1 ? targets[0] : targets.find(target => target.name === exporter)
    if (target === undefined)
      throw bad(
        `MILO_EXPORT_HEADERS names the exporter '${exporter}' for the header '${name}'; there ${names.length === 1 ? 'is' : 'are'} ${names.join(', ')}`,
      )
    let value: string
    try {
      value = decodeURIComponent(part.slice(at + 1).trim())
    } catch {
      throw bad(
        `MILO_EXPORT_HEADERS must have percent-encoded values; that of '${name}' has a % that isn't followed by two hex digits`,
      )
    }
    setHeader(target, name, value)
  }
}

/** @param value never shown */
function setHeader(target: HttpTarget, name: string, value: unknown): void {
  if (name.length > MAX_HEADER_NAME_LENGTH || !TOKEN.test(name))
    throw bad(`a header of the exporter ${target.name} must have a name that HTTP allows, got '${name}'`)
  if (OWN_HEADERS.test(name)) throw bad(`the header '${name}' of the exporter ${target.name} can't be set`)
  if (typeof value !== 'string' || !HEADER_VALUE.test(value))
    throw bad(
      `the header '${name}' of the exporter ${target.name} must be a string of printable characters, in Latin-1`,
    )
  const lower = name.toLowerCase()
  target.headers = [...target.headers.filter(([other]) => other.toLowerCase() !== lower), [name, value.trim()]]
}

/** An address without what may be a secret: credentials and a query. */
function hidden(text: string): string {
  return text.replace(/\/\/.*@/s, '//…@').replace(/\?.*/s, '?…')
}

function bad(message: string): MiloError {
  return new MiloError('MILO_BAD_EXPORT', message)
}
