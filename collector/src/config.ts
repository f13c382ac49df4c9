import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { distance } from 'fastest-levenshtein'
import { Lexer, LineCounter, Parser, parseDocument } from 'yaml'
import { z } from 'zod'
import { isLoopback, isNetwork } from './auth/addresses'
import { TOKEN_LINE, USER_LINE } from './auth/credentials'
import { DEFAULT_DENY, DEFAULT_VALUE_LENGTH } from './store/search/index-policy'
import { TRACE_BYTES } from './store/store'
import {
  CONSISTENCIES,
  DEFAULT_ACTIVITY_DAYS,
  DEFAULT_ANALYSIS_DAYS,
  DEFAULT_RETENTION_DAYS,
} from './store/store-config'

/**
 * The collector's configuration: defaults, under a YAML file, under the environment.
 *
 * A key's variable is its path, joined with `_`, in upper case, after `MILO_COLLECTOR_`: `http.port` is
 * `MILO_COLLECTOR_HTTP_PORT`. Keys that begin with `collector_` may leave that word out: `MILO_COLLECTOR_PORT` is
 * `MILO_COLLECTOR_COLLECTOR_PORT`. Lists are separated by commas. Empty variables and keys
 * without a value are ignored. Unknown variables are errors, as unknown keys are.
 */

const ENV_PREFIX = 'MILO_COLLECTOR_'
const MIB = 1024 * 1024
/** Matches a path to which others are appended, from the configuration or from a proxy's X-Forwarded-Prefix. */
export const BASE_PATH = /^(?:\/(?!\.{1,2}(?:\/|$))[\w.~-]+)*\/?$/

const host = z
  .string({ error: 'is not a host: give a name or an address' })
  .refine(v => isIP(v) !== 0 || /^\w[\w.-]*$/.test(v), {
    error: 'is not a host: give a name or an address alone, without port or brackets',
  })

/** Environment variables are strings, and people quote numbers in YAML. */
const toNumber = (v: unknown) => (typeof v === 'string' && /^\s*-?\d+\s*$/.test(v) ? Number(v) : v)

function integer(from: number, to: number, what: string) {
  const error = `is not a ${what}: give a whole number from ${from} to ${to}`
  return z.preprocess(toNumber, z.int({ error }).min(from, { error }).max(to, { error }))
}

const serverPort = integer(1, 65535, 'port')
const listenPort = integer(0, 65535, 'port (0 takes a free one)')

const listenPorts = z.preprocess(
  v => (typeof v === 'string' ? v.split(',') : Array.isArray(v) ? v : [v]),
  z
    .array(listenPort)
    .min(1, { error: 'has no port: give a port, or a list of ports' })
    .max(16, { error: 'has more than 16 ports: give at most 16' })
    .refine(ports => ports.every((port, i) => port === 0 || ports.indexOf(port) === i), {
      error: 'has a port twice: give each port once',
    }),
)

const nonEmpty = (what: string) =>
  z
    .string({ error: `is not a ${what}: give a string (put quotes around a number)` })
    .min(1, { error: `is empty: give a ${what}` })

const password = z.string({ error: 'is not a string: put quotes around it' })

/** A name that has to stand in DDL, where no parameter can. */
const identifier = (what: string, maxLength: number) =>
  nonEmpty(what).regex(new RegExp(`^[A-Za-z]\\w{0,${maxLength - 1}}$`), {
    error: `is not a ${what}: give a letter, then letters, digits and _, at most ${maxLength} in all`,
  })

/** A key that the original collector had. It is accepted, and has no effect. */
const obsolete = z.unknown().optional()

const section = <S extends z.ZodRawShape>(shape: S) =>
  z.strictObject(shape, { error: 'is not a section: give keys and values below it' }).prefault({} as never)

/** Accepts one value, several separated by commas, or a list. */
const several = <T extends z.ZodType>(what: string, one: T) =>
  z.preprocess(
    v => (typeof v === 'string' ? v.split(',').map(s => s.trim()) : v),
    z.array(one, { error: `is not a list: give [${what}, …]` }),
  )

const hosts = several('host', host)

const NETWORK_REMEDY = 'is not a network: give an address, or a network such as 10.0.0.0/8'
const network = z.string({ error: NETWORK_REMEDY }).refine(isNetwork, { error: NETWORK_REMEDY })

/** The first segments of the collector's own paths. A base path that began with one would be ambiguous. */
/** What the paths of the HTTP server begin with, but for files: createApi() refuses any other. */
export const OWN_PATHS = [
  ...[
    'analysis',
    'api',
    'assets',
    'changes',
    'compare',
    'dependencies',
    'difference',
    'errors',
    'graph',
    'healthz',
    'jaeger',
    'kept',
  ],
  ...['livez', 'metrics', 'readyz', 'search', 'services', 'trace', 'upload', 'v1', 'zipkin'],
]
const BASE_PATH_REMEDY = 'is not a path: give a path such as /milo, with letters, digits, . _ ~ and - only'
const basePath = z
  .string({ error: BASE_PATH_REMEDY })
  .regex(BASE_PATH, { error: BASE_PATH_REMEDY })
  .refine(path => !OWN_PATHS.includes(path.split('/')[1] ?? ''), {
    error: 'begins with a path that the collector itself uses: give another path, such as /milo',
  })
  .transform(path => path.replace(/\/$/, ''))

const UPSTREAM_REMEDY = 'is not an address: give host:port, with brackets around an IPv6 address'
const upstream = z
  .string({ error: UPSTREAM_REMEDY })
  .regex(/^(\[[0-9a-f:.]+\]|\w[\w.-]*):\d{1,5}$/i, { error: UPSTREAM_REMEDY })
  .transform(address => {
    const colon = address.lastIndexOf(':')
    return { host: address.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port: Number(address.slice(colon + 1)) }
  })
  .refine(({ port }) => port > 0 && port < 65_536, { error: UPSTREAM_REMEDY })

/** What a link to logs may name, in braces. The web interface fills them in: ui/trace/log-link.ts. */
const LOG_LINK_NAMES = ['traceId', 'spanId', 'service', 'from', 'to', 'fromMs', 'toMs']
const LOG_LINK_REMEDY = `give an http or https address such as https://logs.example/search?q={traceId}, with any of ${LOG_LINK_NAMES.map(name => `{${name}}`).join(' ')} after the host`
const logLink = z
  .string({ error: `is not a link: ${LOG_LINK_REMEDY}` })
  // A name in the place of the host would be a stranger's to choose.
  .regex(/^https?:\/\/[^/?#{}\s]+(?:[/?#]\S*)?$/i, { error: `is not a link: ${LOG_LINK_REMEDY}` })
  .refine(link => URL.canParse(link.replace(/\{\w+\}/g, '0')), { error: `is not a link: ${LOG_LINK_REMEDY}` })
  .refine(link => [...link.matchAll(/\{(\w+)\}/g)].every(([, name]) => LOG_LINK_NAMES.includes(name!)), {
    error: `has an unknown name in braces: ${LOG_LINK_REMEDY}`,
  })

/** The path to a PEM file. */
const pem = (what: string) => nonEmpty(`path to ${what}`)

/** TLS for a listener. A listener that has it doesn't accept plain connections. */
const listenerTls = z
  .strictObject(
    {
      cert: pem('a certificate').optional(),
      key: pem('a private key').optional(),
      /** If set, clients must present a certificate that this authority signed. */
      ca: pem("an authority's certificate").optional(),
    },
    { error: 'is not a section: give keys and values below it' },
  )
  .refine(
    ({ cert, key, ca }) => (cert === undefined) === (key === undefined) && (ca === undefined || cert !== undefined),
    {
      error: 'is incomplete: give both cert and key',
    },
  )
  .optional()

/** TLS for outgoing connections. They are encrypted if the section is present, even if it is empty. */
const clientTls = z
  .strictObject(
    {
      ca: pem("an authority's certificate").optional(),
      cert: pem('a certificate').optional(),
      key: pem('a private key').optional(),
    },
    { error: 'is not a section: give keys and values below it, or {}' },
  )
  .optional()

const line = (what: string, form: RegExp, command: string) => {
  const error = `is not a ${what}: give a line that 'milo-collector ${command}' prints`
  return several(what, z.string({ error }).regex(form, { error }))
}

/** Accepts what the SDK's variables accept. YAML 1.2 reads all but true and false as strings. */
const boolean = z.preprocess(
  v => {
    const word = String(v).trim().toLowerCase()
    return ['true', '1', 'yes', 'on'].includes(word) ? true : ['false', '0', 'no', 'off'].includes(word) ? false : v
  },
  z.boolean({ error: 'is not a boolean: give true or false' }),
)

const MILLIS = 'time in milliseconds'

const schema = z.strictObject({
  /** The address on which Scribe's `Log` is served. The default is loopback because Scribe has no passwords. */
  collector_host: host.default('127.0.0.1'),
  collector_port: listenPorts.default([2100, 1463]),
  collector_min_workers: obsolete,
  /** Names this collector's journal. Collectors that share databases need different ids. */
  collector_id: nonEmpty('name').max(100, { error: 'is too long: give at most 100 characters' }).optional(),
  scribe: section({
    category: nonEmpty('category').default('Milo-Trace'),
    /** The category of senders that use Zipkin's first format; an empty string accepts none. */
    zipkin_category: z.string({ error: 'is not a category: give a string, or "" for none' }).default('zipkin'),
    tls: listenerTls,
    hostname: obsolete,
    port: obsolete,
  }),
  fb303: section({
    /** Whether any client may call `shutdown` to stop the collector and `reinitialize` to reload its configuration. */
    allow_shutdown: boolean.default(false),
  }),
  http: section({
    host: host.default('127.0.0.1'),
    port: listenPort.default(2180),
    /** Names under which a proxy on this machine passes requests on; see the Host check in auth/guard.ts. */
    allowed_hosts: hosts.default([]),
    /** X-Forwarded-* headers are trusted only from these networks. */
    trusted_proxies: several('network', network).default([]),
    /** The path under which a proxy publishes the collector, such as `/milo`. Requests may come with it or without. */
    base_path: basePath.default(''),
    tls: listenerTls,
    /** With `none`, any client that reaches the port may read every trace. */
    auth: z
      .enum(['none'], { error: 'is not a known value: give none, or set http.users or http.tokens instead' })
      .optional(),
    /** Lines that `milo-collector hash-password` prints. */
    users: line('user', USER_LINE, 'hash-password NAME').default([]),
    /** Lines that `milo-collector token` prints. */
    tokens: line('token', TOKEN_LINE, 'token NAME').default([]),
    /** Requests per minute and address; 0 means no limit. Requests that bring spans don't count. The default is 0 on loopback, else 600. */
    rate_limit: integer(0, 1_000_000, 'number of requests a minute').optional(),
    /** The most bytes that a body with spans may have, both as received and decompressed. */
    max_body_bytes: integer(1024, 512 * MIB, 'size in bytes').default(16 * MIB),
  }),
  store: z
    .enum(['embedded', 'cassandra-mysql', 'scribe'], {
      error: 'is not a store: give embedded, cassandra-mysql or scribe',
    })
    .default('embedded'),
  embedded: section({
    /** Relative to the directory in which the collector is started. */
    path: nonEmpty('path').default('./milo.db'),
  }),
  cassandra: section({
    /** The nodes that are contacted first; they name the others. */
    hostname: hosts.default(['127.0.0.1']),
    port: serverPort
      .refine(port => port !== 9160, {
        error: "is Cassandra's old Thrift port: give the port of its native protocol, by default 9042",
      })
      .default(9042),
    local_dc: nonEmpty('data center').default('datacenter1'),
    keyspace: identifier('keyspace', 48).default('milo'),
    username: nonEmpty('user name').optional(),
    password: password.optional(),
    consistency: z
      .enum(CONSISTENCIES, { error: `is not a consistency: give one of ${CONSISTENCIES.join(', ')}` })
      .default('LOCAL_QUORUM'),
    tls: clientTls,
    column_family: obsolete,
  }),
  mysql: section({
    hostname: host.default('127.0.0.1'),
    port: serverPort.default(3306),
    database: identifier('database', 64).default('milo'),
    username: nonEmpty('user name').default('milo'),
    password: password.default(''),
    tls: clientTls,
  }),
  /** Settings for `store: scribe`, which keeps calls of Log only until another Scribe server has accepted them. */
  relay: section({
    path: nonEmpty('path').default('./milo-relay.db'),
    /** How many bytes may wait there before senders get TRY_LATER. */
    max_bytes: integer(MIB, 1024 * 1024 * MIB, 'size in bytes').default(1024 * MIB),
    /** Servers to forward to. A call goes to the first that accepts it. */
    upstreams: several('address', upstream).default([]),
    tls: clientTls,
    /** Encodes messages that aren't ASCII as base64, for servers that keep only text. */
    base64: boolean.default(false),
  }),
  /** How many days spans are kept. */
  retention_days: integer(1, 3650, 'number of days').default(DEFAULT_RETENTION_DAYS),
  /** How many days figures of services are kept, by the hour; by the minute as long as spans. */
  activity_days: integer(1, 3650, 'number of days').default(DEFAULT_ACTIVITY_DAYS),
  /** How many days results of offline analyses are kept, from when they were loaded. */
  analysis_days: integer(1, 3650, 'number of days').default(DEFAULT_ANALYSIS_DAYS),
  /** Which annotations can be searched for. */
  index: section({
    allow: several('key', nonEmpty('key')).optional(),
    deny: several('key', nonEmpty('key')).default(DEFAULT_DENY),
    value_length: integer(1, 4096, 'number of characters').default(DEFAULT_VALUE_LENGTH),
  }),
  /** The longest Scribe frame that is read; longer ones close their connection. */
  max_frame_bytes: integer(1024, 512 * MIB, 'frame size in bytes').default(16 * MIB),
  /** How many bytes of memory may wait for the store before senders get TRY_LATER. */
  max_in_flight_bytes: integer(MIB, 16384 * MIB, 'size in bytes').default(64 * MIB),
  /** How much may be accepted but not indexed yet before senders get TRY_LATER. */
  max_backlog_spans: integer(1000, 1_000_000_000, 'number of spans').default(500_000),
  max_backlog_bytes: integer(MIB, 16384 * MIB, 'size in bytes').default(256 * MIB),
  /** How many bytes of one trace are read; the answer says when there is more. */
  max_trace_bytes: integer(1024, 1024 * MIB, 'size in bytes').default(TRACE_BYTES),
  /** How many stored bytes all readers together may hold: half for searches, half for traces. */
  max_read_bytes: integer(MIB, 16384 * MIB, 'size in bytes').default(256 * MIB),
  /** The most series of /metrics/services. Beyond it, the least busy operations and edges are counted together. */
  max_service_series: integer(100, 1_000_000, 'number of series').default(10_000),
  /** The most Scribe connections. Beyond it, the one that has been idle longest is closed. */
  max_connections: integer(1, 1_000_000, 'number of connections').default(4096),
  /** A Scribe connection that receives nothing for this time is closed; senders open another. */
  idle_timeout_ms: integer(1000, 2 ** 31 - 1, MILLIS).default(600_000),
  /** Where the web interface links to for the logs of a trace or span. */
  log_link: logLink.optional(),
  log_level: z
    .enum(['fatal', 'error', 'warn', 'info', 'debug', 'silent'], {
      error: 'is not a log level: give fatal, error, warn, info, debug or silent',
    })
    .default('info'),
})

export type Config = z.output<typeof schema> & {
  /** Whether the user chose the ports. A default port may be busy; a chosen one may not. */
  collectorPortGiven: boolean
}

const OBSOLETE: Record<string, string> = {
  collector_min_workers: 'one thread serves every connection',
  'scribe.hostname': "the collector takes Scribe's calls on collector_host itself",
  'scribe.port': "the collector takes Scribe's calls on collector_port itself",
  'cassandra.column_family': 'the tables have fixed names within the keyspace',
}

/** Bad configuration: one line for each problem, with key, value and remedy, and never with a secret. */
export class ConfigError extends Error {
  readonly problems: string[]
  constructor(problems: string[]) {
    super(problems.join('\n'))
    this.name = 'ConfigError'
    this.problems = problems
  }
}

type Tree = { [key: string]: unknown }

/**
 * @param file a YAML file, or undefined for none
 * @param env the environment, of which only `MILO_COLLECTOR_*` is read
 * @returns the configuration, and notices about keys that are accepted but have no effect
 * @throws ConfigError
 */
export function loadConfig(file: string | undefined, env: NodeJS.ProcessEnv): { config: Config; notices: string[] } {
  const tree = file === undefined ? {} : readYaml(file)
  const problems: string[] = []
  const variables = applyEnvironment(tree, env, problems)
  /** The name by which the user set the key. */
  const called = (path: string) => variables.get(path) ?? (file === undefined ? path : `${file}: ${path}`)

  const result = schema.safeParse(tree, { reportInput: true })
  for (const issue of result.error?.issues ?? []) {
    const path = issue.path.filter(part => typeof part === 'string').join('.')
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys) {
        const full = path === '' ? key : `${path}.${key}`
        problems.push(
          `${called(full)}: no such key (value ${show(full, (issue.input as Tree)[key])}); ${suggestKey(full)}`,
        )
      }
    } else {
      problems.push(`${called(path)}: ${show(path, issue.input)} ${issue.message}`)
    }
  }
  if (result.success && result.data.max_in_flight_bytes < result.data.max_frame_bytes) {
    problems.push(
      `${called('max_in_flight_bytes')}: ${result.data.max_in_flight_bytes} is less than max_frame_bytes: give at least ${result.data.max_frame_bytes}`,
    )
  }
  if (result.success) problems.push(...authProblems(result.data.http, called))
  if (result.success && result.data.store === 'scribe' && result.data.relay.upstreams.length === 0) {
    problems.push(
      `${called('relay.upstreams')}: store is scribe, which needs servers to forward to: give [host:port, …]`,
    )
  }
  // A value may break two rules with the same remedy.
  if (problems.length > 0) throw new ConfigError([...new Set(problems)])

  const notices: string[] = []
  for (const [path, why] of Object.entries(OBSOLETE)) {
    if (get(tree, path) !== undefined) notices.push(`${called(path)} has no effect: ${why}; remove it`)
  }
  return { config: { ...result.data!, collectorPortGiven: tree.collector_port !== undefined }, notices }
}

/** Without credentials, the API is open to this machine only, unless the user sets http.auth to none. */
function authProblems({ host, auth, users, tokens }: Config['http'], called: (path: string) => string): string[] {
  const credentials = users.length + tokens.length > 0
  if (auth === 'none') {
    return credentials
      ? [`${called('http.auth')}: "none" contradicts http.users and http.tokens: remove http.auth, or both of them`]
      : []
  }
  if (credentials || isLoopback(host)) return []
  return [
    `${called('http.host')}: ${show('http.host', host)} lets other machines read every trace: set http.users ('milo-collector hash-password') or http.tokens ('milo-collector token'), or set http.auth to none`,
  ]
}

/** One mistake may turn every later line into another. */
const MAX_YAML_ERRORS = 20
const MAX_DEPTH = 20

/** Errors give the line but never quote it: it may hold a password. */
function readYaml(file: string): Tree {
  let source: string
  try {
    source = readFileSync(file, 'utf8')
  } catch (error) {
    throw new ConfigError([
      `${file}: can't be read (${(error as NodeJS.ErrnoException).code}): give a file with --config`,
    ])
  }
  if (isTooDeep(source)) {
    throw new ConfigError([`${file}: is nested deeper than ${MAX_DEPTH} levels: no key needs more than three`])
  }
  const lines = new LineCounter()
  const document = parseDocument(source, { prettyErrors: false, lineCounter: lines })
  if (document.errors.length > 0) {
    throw new ConfigError(
      document.errors.slice(0, MAX_YAML_ERRORS).map(({ code, pos }) => {
        const { line, col } = lines.linePos(pos[0])
        return `${file}: line ${line}, column ${col} is not YAML: ${code.toLowerCase().replaceAll('_', ' ')}`
      }),
    )
  }
  let value: unknown
  try {
    value = document.toJS()
  } catch {
    throw new ConfigError([
      `${file}: has an alias without an anchor, or too many aliases: put quotes around a value that begins with *`,
    ])
  }
  if (value === null || value === undefined) return {}
  if (!isTree(value)) throw new ConfigError([`${file}: has no keys: give lines of the form key: value`])
  return withoutEmpty(value)
}

/** More than a few hundred levels exhaust the stack; V8 ends the process if it compiles a regular expression then. */
function isTooDeep(source: string): boolean {
  const parser = new Parser()
  for (const lexeme of new Lexer().lex(source)) {
    // A document, and for each level a collection and perhaps what is begun in it.
    if (parser.stack.length > 2 * MAX_DEPTH) return true
    for (const _document of parser.next(lexeme)) {
      // Only how deep it is matters here.
    }
  }
  return false
}

function withoutEmpty(tree: Tree): Tree {
  const out: Tree = {}
  for (const [key, value] of Object.entries(tree)) {
    if (value !== null) out[key] = isTree(value) ? withoutEmpty(value) : value
  }
  return out
}

/** Puts the variables into the tree; returns which key came from which. */
function applyEnvironment(tree: Tree, env: NodeJS.ProcessEnv, problems: string[]): Map<string, string> {
  const paths = new Map<string, string>()
  for (const path of KEYS) {
    for (const name of variablesOf(path)) paths.set(name, path)
  }
  const variables = new Map<string, string>()
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith(ENV_PREFIX) || value === undefined || value === '') continue
    const path = paths.get(name)
    if (path === undefined) {
      const near = nearest(name, [...paths.keys()])
      const remedy = near === undefined ? `unset it` : `did you mean ${near}?`
      problems.push(`${name}: no such variable (value ${show(near ?? name, value)}); ${remedy}`)
      continue
    }
    const other = variables.get(path)
    if (other !== undefined) {
      problems.push(`${name}: ${show(path, value)} sets the same key as ${other}: unset one of them`)
      continue
    }
    variables.set(path, name)
    put(tree, path, value)
  }
  return variables
}

function variablesOf(path: string): string[] {
  const name = path.replaceAll('.', '_').toUpperCase()
  return name.startsWith('COLLECTOR_') ? [`MILO_${name}`, ENV_PREFIX + name] : [ENV_PREFIX + name]
}

function put(tree: Tree, path: string, value: unknown): void {
  const parts = path.split('.')
  const last = parts.pop()!
  for (const part of parts) {
    const below = tree[part] ?? {}
    // The schema reports a section that isn't one.
    if (!isTree(below)) return
    tree[part] = below
    tree = below
  }
  tree[last] = value
}

function get(tree: object, path: string): unknown {
  let at: unknown = tree
  for (const part of path.split('.')) at = isTree(at) ? at[part] : undefined
  return at
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A value as an error shows it. What looks like a secret, even under a mistyped key, is not shown. */
function show(path: string, value: unknown): string {
  const near = nearest(path, KEYS) ?? ''
  if (/pass|pwd|secret|tokens?$|credential|users/i.test(`${path} ${near}`)) return '(hidden)'
  const json = isTree(value) ? '{…}' : (JSON.stringify(value) ?? String(value))
  return json.length > 80 ? `${json.slice(0, 80)}…` : json
}

function suggestKey(path: string): string {
  const above = path.slice(0, path.lastIndexOf('.') + 1)
  const siblings = keysBelow(above)
  const near = nearest(path, siblings) ?? KEYS.find(key => key.split('.').pop() === path.split('.').pop())
  return near === undefined ? `remove it, or use one of ${siblings.join(', ')}` : `did you mean ${near}?`
}

/** Keys and sections right below a section. */
function keysBelow(above: string): string[] {
  const names = KEYS.filter(key => key.startsWith(above)).map(key => above + key.slice(above.length).split('.')[0])
  return [...new Set(names)]
}

/** Returns the candidate that a misspelled word may mean, or undefined if none is similar. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(word.length / 4)) + 1
  for (const candidate of candidates) {
    const d = distance(word.toLowerCase(), candidate.toLowerCase())
    if (d < bestDistance) [best, bestDistance] = [candidate, d]
  }
  return best
}

/** Returns the keys whose values differ, without the obsolete ones. */
export function changedKeys(a: Config, b: Config): string[] {
  return KEYS.filter(key => !(key in OBSOLETE)).filter(
    key => JSON.stringify(get(a, key)) !== JSON.stringify(get(b, key)),
  )
}

/** The path of every key, without sections. */
export const KEYS: string[] = keysOf(schema)

function keysOf(object: z.ZodObject, above = ''): string[] {
  return Object.entries(object.shape).flatMap(([key, type]) => {
    let inner: unknown = type
    while (inner instanceof z.ZodPrefault || inner instanceof z.ZodOptional) inner = inner.unwrap()
    return inner instanceof z.ZodObject ? keysOf(inner, `${above}${key}.`) : [above + key]
  })
}
