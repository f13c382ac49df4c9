import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { History, type TraceId } from '../../../src/ring/history'
import { Kind, LiveSpan, Trace } from '../../../src/trace/span'
import { ROOT } from '../../helpers/child'

const KIB = 1024
const nowhere = { add() {}, truncated() {} }

/** Numbers below n, the same in each run. */
function dice(seed: number): (n: number) => number {
  let state = seed
  return n => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    return Math.floor(((state >>> 0) / 4294967296) * n)
  }
}

type Fields = Partial<
  Pick<LiveSpan, 'own' | 'counters' | 'events' | 'typed' | 'shared' | 'kind' | 'parentHi' | 'parentLo'>
>

let made = 0

function endedSpan(name: string, trace: Trace, fields: Fields = {}): LiveSpan {
  made++
  const span = new LiveSpan(nowhere, trace, made, -made, 7, -8, (made % 3) as Kind, name, 1.7e15 + made + 0.25)
  Object.assign(span, fields)
  span.endUs = span.startUs + 1.5
  return span
}

function traceOf(hi: number, lo: number): Trace {
  return new Trace(hi, lo, 0, 0, false, false, 0, 0)
}

const ascii = (n: number) => 'x'.repeat(n)
/** All kinds of strings that may come. */
const STRINGS = [
  ...['', 'a', 'key', 'GET /users/:id', 'é', 'Zoë', 'ÿ'.repeat(64), '日本', '😀', '\ud800', 'a\udc00b', '\0'],
  ...[63, 64, 65, 256, 257, 4096].map(ascii),
  ...['ä'.repeat(63), '漢'.repeat(21), '漢'.repeat(1000), `${ascii(64)}é`, '😀'.repeat(40)],
]

/** Lists that spans share: those of operations, of peers that come and go, and one that only a page of its own would have room for. */
function drawnList(draw: (n: number) => number, lists: string[][], text: () => string): string[] {
  const at = draw(40)
  if (lists[at] === undefined || draw(50) === 0) {
    lists[at] = Array.from({ length: 2 * draw(6) }, (_, i) => (i % 2 === 0 ? `${text()}/${i}` : text()))
    if (at === 0) lists[at] = ['large', ascii(5000)]
  }
  return lists[at]
}

function drawnSpan(draw: (n: number) => number, n: number, lists: string[][]): LiveSpan {
  const text = () =>
    draw(3) > 0 ? STRINGS[draw(12)]! : draw(20) > 0 ? `unique ${n} ${draw(1e9)}` : STRINGS[draw(STRINGS.length)]!
  const trace = new Trace(
    draw(4) - 2,
    (draw(8) - 4) * 65_536 + draw(2),
    ...((draw(3) === 0 ? [draw(9) - 4, draw(9) - 4] : [0, 0]) as [number, number]),
    false,
    false,
    [0, 1, Number.NaN, Math.fround(0.1)][draw(4)]!,
    0,
  )
  if (draw(5) === 0) trace.state = text()
  const list = <T>(most: number, one: (i: number) => T[]) =>
    Array.from({ length: draw(most + 1) }, (_, i) => one(i)).flat()
  const fields: Fields = {}
  if (draw(4) > 0) fields.own = list(4, i => [`${text()}${i}`, text()])
  if (fields.own !== undefined && draw(4) === 0) fields.typed = fields.own.filter((_, i) => i % 4 === 0)
  const number = () =>
    draw(2) === 0 ? draw(1e9) * 4_000_000 - 2e15 : [0, -1, 2 ** 31 - 1, 2 ** 31, -(2 ** 31)][draw(5)]!
  if (draw(3) === 0) fields.counters = list<string | number>(3, i => [`${text()}${i}`, number()])
  if (draw(2) === 0) {
    const one = () => drawnList(draw, lists, text)
    fields.shared = { first: one(), second: draw(2) === 0 ? one() : undefined }
  }
  if (draw(3) === 0) fields.events = list<string | number>(3, () => [1.7e15 + draw(1e6) / 4, text()])
  return endedSpan(text(), trace, fields)
}

/** What is kept of a span. Lone surrogates are none. */
function plain(span: LiveSpan): unknown {
  const { name, kind, startUs, endUs, traceId, spanId, parentId, typed, counters, events, trace } = span
  // What `annotations` says would change the span.
  const { shared, own = [] } = span
  const told = (list: unknown[] | undefined) =>
    (list ?? []).map(one => (typeof one === 'string' ? Buffer.from(one).toString() : one))
  return {
    ...{ name: told([name]), kind, startUs, endUs, traceId, spanId, parentId, probability: trace.probability },
    ...{
      annotations: told([...(shared?.first ?? []), ...(shared?.second ?? []), ...own]),
      typed: told(typed),
      counters: told(counters),
      events: told(events),
    },
    state: told([trace.state]),
  }
}

function collected(history: History, ids: TraceId[]): LiveSpan[] {
  const spans: LiveSpan[] = []
  history.collect(ids, span => spans.push(span))
  return spans
}

describe('the history', () => {
  it('has what ended last, as an array would have it, wherever its pages end', () => {
    for (let seed = 1; seed <= 4; seed++) {
      const draw = dice(seed)
      const history = new History(64 * KIB + 8 * seed)
      const all: LiveSpan[] = []
      const lists: string[][] = []
      for (let n = 0; n < 2000; n++) {
        const span = drawnSpan(draw, n, lists)
        all.push(span)
        history.add(span)
        if (n % 200 !== 0) continue
        const kept = all.slice(all.length - history.spans)
        const ids = [...new Map(kept.map(({ trace }) => [trace.hi * 2 ** 32 + trace.lo, trace])).values()]
        assert.deepEqual(collected(history, ids).map(plain), kept.map(plain))
        const some = ids.filter(() => draw(3) === 0)
        assert.deepEqual(
          collected(history, some).map(plain),
          kept.filter(({ trace }) => some.some(({ hi, lo }) => hi === trace.hi && lo === trace.lo)).map(plain),
        )
        assert.ok(history.bytes <= 64 * KIB + 8 * seed)
        const first = kept[0]!
        if (kept.length < all.length) assert.equal(history.beganUs, first.endUs)
        else assert.ok(Math.abs(history.beganUs - Date.now() * 1000) < 60e6)
      }
    }
  })

  it('names the last traces that have an entry span of a name, also of one that was seen once or has no number', () => {
    const history = new History(64 * KIB)
    const name = '漢'.repeat(300)
    for (let n = 1; n <= 6; n++) {
      for (const one of ['GET', name, `once ${n}`])
        history.add(endedSpan(one, traceOf(n >> 1, n), { kind: Kind.SERVER }))
      history.add(endedSpan('GET', traceOf(n >> 1, n), { kind: Kind.SERVER }))
      // Calls of others by that name, and work within.
      for (const kind of [Kind.CLIENT, Kind.LOCAL]) history.add(endedSpan('GET', traceOf(n >> 1, -n), { kind }))
    }
    const ids = (...ns: number[]) => ns.map(n => ({ hi: n >> 1, lo: n }))
    const last = (name: string, n: number) => history.last(name, n).map(({ hi, lo }) => ({ hi, lo }))
    assert.deepEqual(last('GET', 4), ids(6, 5, 4, 3))
    assert.deepEqual(last('GET', 100), ids(6, 5, 4, 3, 2, 1))
    assert.deepEqual(last(name, 2), ids(6, 5))
    assert.deepEqual(last('once 2', 2), ids(2))
    assert.deepEqual([last('other', 2), last('GET', 0)], [[], []])
    const [before, after] = [7, 8].map(lo => endedSpan('late', traceOf(1, lo), { kind: Kind.SERVER }))
    after!.endUs = before!.endUs + 1
    for (const span of [before!, after!]) history.add(span)
    const until = history.last('late', 9, before!.endUs).map(({ lo }) => lo)
    assert.deepEqual(until, [7])
    const root = endedSpan('GET', traceOf(1, 9), { parentHi: 0, parentLo: 0, kind: Kind.LOCAL })
    history.add(root)
    assert.deepEqual(history.last('GET', 1), [{ hi: 1, lo: 9, idHi: root.idHi, idLo: root.idLo }])
  })

  it('takes more names than get a number', () => {
    const history = new History(8 * KIB * KIB)
    const all: LiveSpan[] = []
    for (let n = 0; n < 15_000; n++) {
      const name = `name ${n % 5000} ${ascii(n % 120)}`
      const span = endedSpan(name, traceOf(1, 1), { own: [name, 'v'], counters: [name, n] })
      all.push(span)
      history.add(span)
    }
    assert.deepEqual(collected(history, [{ hi: 1, lo: 1 }]).map(plain), all.slice(-history.spans).map(plain))
  })

  it('gives a span larger than a page one of its own, and has of one that would push out too much only that it was there', () => {
    const history = new History(256 * KIB)
    const large = (lo: number, kib: number) =>
      endedSpan('large', traceOf(0, lo), {
        own: Array.from({ length: 2 * kib }, (_, i) => (i % 2 ? ascii(KIB) : `key ${i}`)),
      })
    history.add(large(1, 30))
    history.add(endedSpan('small', traceOf(0, 2)))
    history.add(large(3, 4000))
    history.add(endedSpan('small', traceOf(0, 4)))
    const ids = [1, 2, 3, 4].map(lo => ({ hi: 0, lo }))
    assert.deepEqual(
      collected(history, ids).map(span => span.trace.lo),
      [1, 2, 3, 4],
    )
    const [first, , third] = collected(history, ids)
    assert.equal(first!.annotations!.length, 60)
    assert.equal(third!.annotations![0], 'milo.too_large')
    assert.ok(Math.abs(Number(third!.annotations![1]) - 4000 * KIB) < 100 * KIB, `${third!.annotations![1]}`)
    assert.equal(history.tooLarge, 1)
    for (let n = 0; n < 100; n++) {
      history.add(large(5, 1 + (n % 61)))
      history.add(endedSpan('small', traceOf(0, 6)))
      assert.ok(history.bytes <= 256 * KIB)
    }
    const lows = collected(
      history,
      [5, 6].map(lo => ({ hi: 0, lo })),
    ).map(span => span.trace.lo)
    assert.equal(lows.length, history.spans)
    assert.deepEqual(lows.slice(-2), [5, 6])
  })

  it('has long values whole', () => {
    const history = new History(1024 * KIB)
    const values = [21_844, 21_845, 32_768, 60_000].flatMap(n => [ascii(n), `${ascii(n)}é`, '漢'.repeat(n / 4)])
    for (const value of values) history.add(endedSpan('long', traceOf(1, 2), { own: ['json', value] }))
    assert.deepEqual(
      collected(history, [{ hi: 1, lo: 2 }]).map(span => span.annotations![1]),
      values,
    )
  })

  it('takes a name that isn’t a string as its text', () => {
    const history = new History(64 * KIB)
    const names: unknown[] = [5, null, undefined, { toString: () => 'mine' }]
    for (const name of names) history.add(endedSpan(name as string, traceOf(1, 2)))
    assert.deepEqual(
      collected(history, [{ hi: 1, lo: 2 }]).map(span => span.name),
      ['5', 'null', 'undefined', 'mine'],
    )
  })

  it('allocates nothing that lasts: a million spans leave the heap as it was', () => {
    const program = `
      const { History } = require('./src/ring/history.ts')
      const { LiveSpan, Trace } = require('./src/trace/span.ts')
      const history = new History(1024 * 1024)
      const add = n => {
        const span = new LiveSpan({ add() {}, truncated() {} }, new Trace(n, n, 0, 0, false, false, 0, 0), n, n, 0, 0, 0, 'name ' + (n % 9), 1.7e15 + n)
        span.own = ['route', '/users/:id', 'user', 'user ' + n, 'user ' + (n % 5000), 'é']
        span.endUs = 1.7e15 + n
        history.add(span)
      }
      const used = () => {
        for (let i = 0; i < 3; i++) gc()
        const { heapUsed, arrayBuffers } = process.memoryUsage()
        return heapUsed + arrayBuffers
      }
      for (let n = 0; n < 100_000; n++) add(n)
      const before = used()
      for (let n = 0; n < 1_000_000; n++) add(n)
      console.log(used() - before)`
    const { stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', '--require', 'tsx/cjs', '--eval', program], {
      cwd: ROOT,
      encoding: 'utf8',
    })
    assert.ok(Number(stdout) < 512 * KIB, `${stdout} bytes more\n${stderr}`)
  })
})
