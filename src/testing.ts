import { clearTimeout, GenuinePromise, setTimeout } from './process/genuine'
import { withLogPlugins } from './register'
import { currentSettings, isActive, MAX_TIMER_MS } from './start/instance'
import { type Options, readSettings, type Settings } from './start/options'
import { start as startMilo } from './start/start'
import { Kind, type LiveSpan } from './trace/span'

/**
 * `milo/testing`: spans in memory, for the tests of an application. Nothing is sent, and the environment's MILO_ variables
 * don't count.
 */

/** An ended span as a plain value. Ids are hex, all zero for no parent; times are microseconds since the epoch. */
export interface TestSpan {
  name: string
  kind: 'local' | 'client' | 'server'
  traceId: string
  spanId: string
  parentId: string
  startUs: number
  endUs: number
  annotations: Record<string, string>
  counters: Record<string, number>
  events: { timeUs: number; value: string }[]
}

export interface TreeOptions {
  /** Which annotations are shown, by key. Absent: all of them. */
  annotations?: string[]
}

const KINDS: Record<Kind, TestSpan['kind']> = {
  [Kind.LOCAL]: 'local',
  [Kind.CLIENT]: 'client',
  [Kind.SERVER]: 'server',
}

/** The spans since the last start, and the calls of `ended` that wait for more. */
const collector = { spans: [] as TestSpan[], waiting: [] as (() => void)[] }

/** Set from a start to the stop: the settings that Milo ran with before, undefined where it was off. */
let before: { settings: Settings | undefined } | undefined

/**
 * Starts Milo anew, with every trace kept unless the options say otherwise.
 * @returns the spans that have ended, oldest first: the array grows; set its length to 0 to begin afresh
 * @throws MiloError as init does, and for environment variables too
 */
export function start(options: Options = {}): TestSpan[] {
  const settings = readSettings({ sampler: 'always', ...options }, {})
  const collected: TestSpan[] = []
  collector.spans = collected
  before ??= { settings: isActive() ? currentSettings() : undefined }
  startMilo(settings, withLogPlugins(settings), span => {
    collected.push(plain(span))
    for (const look of collector.waiting) look()
  })
  return collected
}

/**
 * Starts Milo again with the settings it ran with before `start`, as under milo/register, or switches it off. Its history goes on; plugins
 * that the test has added stay. Without a start it does nothing. What has been collected stays.
 */
export function stop(): void {
  if (before === undefined) return
  const settings = before.settings ?? readSettings({ enabled: false }, {})
  before = undefined
  startMilo(settings, [])
}

/**
 * Resolves when `count` spans have ended since the start. A server's span may end shortly after its client has the answer.
 * @throws after `limitMs`, with the tree of those that have
 */
export function ended(count: number, limitMs = 1000): Promise<TestSpan[]> {
  const wanted = collector.spans
  return new GenuinePromise((resolve, reject) => {
    const look = () => {
      if (wanted.length < count) return
      settled()
      resolve(wanted)
    }
    const settled = () => {
      clearTimeout(timer)
      collector.waiting = collector.waiting.filter(one => one !== look)
    }
    const timer = setTimeout(
      () => {
        settled()
        reject(new Error(`${wanted.length} of ${count} spans have ended within ${limitMs} ms:\n${tree()}`))
      },
      Math.min(limitMs, MAX_TIMER_MS),
    )
    collector.waiting.push(look)
    look()
  })
}

/**
 * The ended spans as a string to compare with: one on a line, below its parent and indented by two spaces, those of one
 * parent in order of their start. A span whose parent hasn't ended or lives elsewhere stands at the left.
 *
 *     GET /checkout (server) http.response.status_code=200
 *       cart.load rows+=3 [cache miss]
 *       Pricing.quote (client)
 *         Pricing.quote (server) error.type="Out of stock"
 *
 * After the name: `(client)` or `(server)`, annotations, counters with `+=`, events in brackets. Strings that contain a space,
 * a quote, `=` or brackets are written as JSON. Ids and times aren't shown.
 */
export function tree(options: TreeOptions = {}): string {
  const children = new Map<TestSpan | undefined, TestSpan[]>()
  // The sort is stable: spans that start in the same microsecond stay in the order in which they ended.
  for (const span of [...collector.spans].sort((a, b) => a.startUs - b.startUs)) {
    const parent = parentOf(span)
    const siblings = children.get(parent)
    if (siblings === undefined) children.set(parent, [span])
    else siblings.push(span)
  }
  const lines: string[] = []
  const rest = (children.get(undefined) ?? []).map(span => ({ span, depth: 0 })).reverse()
  for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
    const { span, depth } = next
    lines.push('  '.repeat(depth) + line(span, options.annotations))
    for (const child of [...(children.get(span) ?? [])].reverse()) rest.push({ span: child, depth: depth + 1 })
  }
  return lines.join('\n')
}

/**
 * Asserts that the tree is this one. Blank lines around it and indentation that all of its lines share don't count.
 * @throws AssertionError with the difference
 */
export function assertTree(expected: string, options?: TreeOptions): void {
  const lines = expected.replace(/^\s*\n|\s+$/g, '').split('\n')
  const shared = Math.min(...lines.filter(one => one.trim() !== '').map(one => one.search(/\S/)))
  // Loaded late: this file is in the one bundle that every start reads, and node:assert takes 2 to 5 ms of it.
  const assert: typeof import('node:assert') = require('node:assert')
  assert.strictEqual(tree(options), lines.map(one => one.slice(shared).trimEnd()).join('\n'))
}

/** The two halves of a call may share an id: then the server's is below the client's, and what it does below it. */
function parentOf(span: TestSpan): TestSpan | undefined {
  const twin = span.kind === 'server' ? find(span, span.spanId, ['client']) : undefined
  return twin ?? find(span, span.parentId, ['server']) ?? find(span, span.parentId, ['local', 'client'])
}

function find(span: TestSpan, id: string, kinds: TestSpan['kind'][]): TestSpan | undefined {
  return collector.spans.find(
    one => one !== span && one.spanId === id && one.traceId === span.traceId && kinds.includes(one.kind),
  )
}

function line(span: TestSpan, keys: string[] | undefined): string {
  const parts = [quote(span.name)]
  if (span.kind !== 'local') parts.push(`(${span.kind})`)
  for (const [key, value] of Object.entries(span.annotations)) {
    if (keys === undefined || keys.includes(key)) parts.push(`${quote(key)}=${quote(value)}`)
  }
  for (const [key, n] of Object.entries(span.counters)) parts.push(`${quote(key)}+=${n}`)
  for (const { value } of span.events) parts.push(`[${value}]`)
  return parts.join(' ')
}

function quote(text: string): string {
  return text === '' || /["=[\]\s]/.test(text) ? JSON.stringify(text) : text
}

function plain(span: LiveSpan): TestSpan {
  const { name, kind, traceId, spanId, parentId, startUs, endUs } = span
  return {
    name,
    kind: KINDS[kind],
    traceId,
    spanId,
    parentId,
    startUs,
    endUs,
    annotations: Object.fromEntries(pairs(span.annotations)),
    counters: Object.fromEntries(pairs(span.counters)),
    events: pairs(span.events).map(([timeUs, value]) => ({ timeUs, value })),
  }
}

function pairs(list: readonly unknown[] | undefined): [any, any][] {
  const result: [any, any][] = []
  for (let i = 0; list !== undefined && i < list.length; i += 2) result.push([list[i], list[i + 1]])
  return result
}
