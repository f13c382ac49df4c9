import assert from 'node:assert/strict'
import { EventType, type SpanRecord } from '../../../src/codec/span'
import { sendSpans } from '../../helpers/send'
import { until } from '../../helpers/until'
import { collector, type TestCollector, undo } from '../support'

const NOW_US = Date.now() * 1000
const ID = 0x6d00000000000000n

interface Shop {
  n: number
  durationMs: number
  cart: Record<string, string>
  probability?: number
  failed?: boolean
  secondsAgo?: number
}

/** A trace of two services: `web` calls `cart`, whose annotations are given. */
function trace({ n, durationMs, cart, probability = 1, failed = false, secondsAgo }: Shop): SpanRecord[] {
  const start = NOW_US - (secondsAgo ?? 60 + n) * 1e6
  const at = (ms: number) => BigInt(Math.round(start + ms * 1000))
  const traceId = ID + BigInt(n)
  const served = (id: bigint, from: number, to: number): SpanRecord => ({
    traceId,
    id,
    probability,
    events: [
      { timestamp: at(from), eventType: EventType.SERVER_RECV },
      { timestamp: at(to), eventType: EventType.SERVER_SEND },
    ],
  })
  return [
    {
      ...served(1n, 0, durationMs),
      name: 'POST /checkout',
      service: 'web',
      // The same key in another service says nothing.
      annotations: new Map([
        ['cache', n % 20 < 10 ? 'miss' : 'hit'],
        ['request', `r${n}`],
        ['region', n % 3 === 0 ? 'eu' : 'us'],
      ]),
    },
    {
      ...served(2n, 1, durationMs - 1),
      parentId: 1n,
      name: 'Cart.total',
      service: 'cart',
      annotations: new Map([...Object.entries(cart), ...(failed ? [['error.type', 'TIMEOUT'] as const] : [])]),
    },
  ]
}

describe('the HTTP API of differences', () => {
  let c: TestCollector
  const slow = (n: number) => n % 10 === 0

  before(async () => {
    c = await collector()
    const shops = Array.from({ length: 300 }, (_, n) => ({
      n,
      durationMs: slow(n) ? 500 + n : 20 + (n % 7),
      // Two of the fast ones miss, too.
      cart: { cache: slow(n) || n === 1 || n === 2 ? 'miss' : 'hit', rows: String(slow(n) ? 5000 + n : 100 + n) },
      failed: n % 25 === 3,
    }))
    await sendSpans(`127.0.0.1:${c.scribePorts[0]}`, shops.flatMap(trace))
    await until('all are found', async () => {
      const { body } = await c.get('/api/search?limit=1000&service=cart')
      return body.traces?.length === 300
    })
  })
  after(undo)

  const difference = async (query: string) => {
    const { status, body } = await c.get(`/api/difference?${query}`)
    assert.equal(status, 200, JSON.stringify(body))
    return body
  }
  const named = ({ kind, service, key, value }: Record<string, string>) => [kind, service, key, value]

  it('finds the cause of slow traces first, in the one service that has it, with its counts', async () => {
    const { selected, others, more, less, tested } = await difference('trace.min_duration=400ms&service=web')
    assert.deepEqual(selected, { traces: 30, complete: true, forced: 0, truncated: 0, effective: 30 })
    assert.deepEqual(others, { traces: 270, complete: true, forced: 0, truncated: 0, effective: 270 })
    const [first, second] = more
    assert.deepEqual(named(first), ['annotation', 'cart', 'cache', 'miss'])
    assert.deepEqual([first.selected.traces, first.others.traces], [30, 2])
    assert.deepEqual([first.selected.share, first.others.share], [1, 0.007407])
    assert.ok(first.lift > 80 && first.p < 1e-30 && first.score > 0.9)
    assert.equal(second.kind, 'range')
    assert.deepEqual([second.key, second.service], ['rows', 'cart'])
    assert.ok(second.min > 100 && second.max >= 5290, JSON.stringify(second))
    assert.deepEqual(named(less[0]), ['annotation', 'cart', 'cache', 'hit'])
    assert.ok(less[0].lift < 0.1)
    // What is noise isn't listed: regions, requests, errors, the other service's cache.
    assert.ok(tested > 5)
    assert.deepEqual(
      [...more, ...less].filter(({ key }) => key !== 'cache' && key !== 'rows'),
      [],
    )
    const example = await c.get(`/api/traces/${first.selected.example}`)
    assert.ok(example.body.duration > 400_000)
    const other = await c.get(`/api/traces/${first.others.example}`)
    assert.ok(other.body.duration < 100_000)
  })

  it('compares what one span has with what the search has without it', async () => {
    const { selected, others, more } = await difference('q=service:cart&select.q=duration>400ms')
    assert.deepEqual([selected.traces, others.traces], [30, 270])
    assert.deepEqual(named(more[0]), ['annotation', 'cart', 'cache', 'miss'])
    const failed = await difference('service=cart&select.error=true')
    assert.deepEqual([failed.selected.traces, failed.others.traces], [12, 288])
    // That spans of cart failed is what was asked for.
    assert.deepEqual(failed.more.map(named), [['error', 'cart', null, null]])
  })

  it('takes alternatives, numbers and structure in both searches, and refuses what can’t be one search', async () => {
    const q = (base: string, select: string) => new URLSearchParams({ q: base, 'select.q': select }).toString()
    const { selected, others, more } = await difference(
      q('service:cart OR service:nobody', '(rows>=5000 OR error) NOT duration<400ms'),
    )
    assert.deepEqual([selected.traces, others.traces], [30, 270])
    assert.deepEqual(named(more[0]), ['annotation', 'cart', 'cache', 'miss'])
    const below = await difference(q('service:web > service:cart', 'rows>=5000'))
    assert.deepEqual([below.selected.traces, below.others.traces], [30, 270])
    const many = '(a=1 OR a=2) '.repeat(3)
    for (const [base, select, message] of [
      ['service:web > service:cart', 'service:web > error', /^select\.q: .*use > in one of them/],
      [many, many, /more than 32 alternatives/],
    ] as const) {
      const { status, body } = await c.get(`/api/difference?${q(base, select)}`)
      assert.deepEqual([status, body.code], [400, 'MILO_BAD_QUERY'])
      assert.match(body.error, message)
    }
  })

  it('takes a box of times and durations of traces, and a time range of the search', async () => {
    const from = NOW_US - (60 + 100) * 1e6
    const to = NOW_US - (60 + 51) * 1e6
    const box = `trace.from=${from}&trace.to=${to}&trace.min_duration=300ms&trace.max_duration=10s`
    const { selected, others, more, from: since } = await difference(`${box}&from=${from}`)
    assert.equal(since, from)
    // 60, 70, 80, 90 and 100 are in it; of the first hundred the others began after `from`.
    assert.deepEqual([selected.traces, others.traces], [5, 96])
    assert.deepEqual(named(more[0]), ['annotation', 'cart', 'cache', 'miss'])
  })

  it('reads no more traces than asked for, from all of the time range', async () => {
    const { selected, others } = await difference('trace.max_duration=100ms&sample=16')
    assert.deepEqual([selected.traces, selected.complete], [16, false])
    assert.deepEqual([others.traces, others.complete], [16, false])
  })

  it('answers the same to the same question', async () => {
    const to = Date.now() * 1000
    const query = `trace.min_duration=400ms&to=${to}&sample=100`
    assert.deepEqual(await difference(query), await difference(query))
  })

  it('ranks by lift when asked to, and lists no more than the limit', async () => {
    const { more } = await difference('trace.min_duration=400ms&order=lift&limit=2')
    assert.equal(more.length, 2)
    const strength = more.map(({ lift }: { lift: number }) => Math.abs(Math.log(lift)))
    assert.ok(strength[0] >= strength[1])
  })

  it('finds nothing where nothing differs, or nothing is there', async () => {
    const none = await difference('trace.min_duration=1h')
    assert.deepEqual([none.selected.traces, none.more, none.less], [0, [], []])
    const region = await difference('select.annotation=region=eu&service=web')
    assert.deepEqual([region.selected.traces, region.more, region.less], [100, [], []])
  })

  it('finds the cause among hostile traces, whose keys are too many to be kept, and answers others meanwhile', async () => {
    const hostile = Array.from({ length: 16 }, (_, n) => {
      const records = trace({ n: 1000 + n, durationMs: n < 6 ? 5000 : 50, cart: { pool: n < 6 ? 'empty' : 'full' } })
      const noise = Array.from({ length: 6_000 }, (_, i) => [`k${n}-${i}`, `${n * i}`] as const)
      return records.map((record, i) => ({
        ...record,
        name: 'Hostile.call',
        ...(i === 0 && { annotations: new Map(noise) }),
      }))
    })
    await sendSpans(`127.0.0.1:${c.scribePorts[0]}`, hostile.flat())
    await until('all are found', async () => {
      const { body } = await c.get('/api/search?limit=100&name=Hostile.call&from=-1d')
      return body.traces?.length === 16
    })
    let answered = 0
    let done = false
    const others = (async () => {
      for (; !done; answered++) assert.equal((await c.get('/api/status')).status, 200)
    })()
    const { selected, more } = await difference('name=Hostile.call&from=-1d&trace.min_duration=1s')
    done = true
    await others
    assert.equal(selected.traces, 6)
    assert.deepEqual(named(more[0]), ['annotation', 'cart', 'pool', 'empty'])
    assert.ok(answered > 1)
  })

  const wrong: [string, string, RegExp][] = [
    ['service=web', 'MILO_NOTHING_SELECTED', /trace\.min_duration=50ms/],
    ['trace.min_duration=soon', 'MILO_BAD_DURATION', /^trace\.min_duration is "soon"/],
    ['select.q=duration>5', 'MILO_BAD_QUERY', /^select\.q: "duration>5"/],
    ['select.q=a&select.name=b', 'MILO_BAD_PARAMETER', /select\.name can't be combined with select\.q/],
    ['service=web&select.service=cart', 'MILO_BAD_PARAMETER', /^select\.service: .*"web".*"cart"/],
    ['trace.error=true&sample=2001', 'MILO_BAD_LIMIT', /1 to 2000/],
    ['trace.error=true&from=-1h&to=-2h', 'MILO_BAD_PARAMETER', /from is not before to/],
    ['trace.name=a', 'MILO_BAD_PARAMETER', /unknown parameter "trace\.name"/],
    ['trace.error=true&before=x', 'MILO_BAD_PARAMETER', /unknown parameter "before"/],
    [`select.error=true&${Array(33).fill('annotation=a').join('&')}`, 'MILO_BAD_QUERY', /give at most 32/],
  ]
  for (const [query, code, message] of wrong) {
    it(`answers 400 ${code} to ${query.slice(0, 40)}`, async () => {
      const { status, body } = await c.get(`/api/difference?${encodeURI(query)}`)
      assert.deepEqual([status, body.code], [400, code])
      assert.match(body.error, message)
    })
  }
})
