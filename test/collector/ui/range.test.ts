import assert from 'node:assert/strict'
import {
  absolute,
  DEFAULT_RANGE,
  moved,
  rangeOf,
  rangeTitle,
  searchIn,
  serviceHref,
  windowOf,
  withRange,
} from '../../../collector/ui/range/range'
import { routeOf } from '../../../collector/ui/shell/route'

const params = (text: string) => new URLSearchParams(text)
const queryOf = (href: string) => params(href.split('?')[1] ?? '')
const HOUR = 3600e6

describe('the time range in the address', () => {
  it('is the same on every page, by parameters as in the language of searches', () => {
    for (const text of [
      'from=-1h',
      'from=-90m',
      'from=2026-11-22T17:00:00Z&to=2026-11-22T18:30:00Z',
      'from=-2h&to=-1h',
    ]) {
      const range = rangeOf(params(text))!
      assert.deepEqual(rangeOf(queryOf(withRange('graph', range, { service: 'a' }))), range)
      assert.deepEqual(rangeOf(queryOf(searchIn(range, { service: 'a', error: true }))), range)
    }
    assert.equal(queryOf(searchIn(DEFAULT_RANGE, { service: 'a b' })).get('q'), 'service:"a b" last 1h')
  })

  it('is absent where the address has none that makes sense, and an hour long where it has an end alone', () => {
    assert.equal(rangeOf(params('')), undefined)
    assert.equal(rangeOf(params('q=error')), undefined)
    assert.equal(rangeOf(params('from=yesterday')), undefined)
    assert.deepEqual(rangeOf(params('to=-1h')), { from: { agoUs: 2 * HOUR }, to: { agoUs: HOUR } })
    assert.deepEqual(rangeOf(params('to=7200000000')), { from: { atUs: HOUR }, to: { atUs: 2 * HOUR } })
    assert.equal(searchIn(undefined), './')
    assert.equal(withRange('services', undefined, { service: '' }), 'services')
  })

  it('moves by its own length, and never beyond now', () => {
    const now = 1e15
    const hours = (n: number) => absolute({ from: now - n * HOUR, to: now - (n - 1) * HOUR })
    assert.deepEqual(moved(DEFAULT_RANGE, -1, now), hours(2))
    assert.deepEqual(moved(hours(3), -1, now), hours(4))
    assert.deepEqual(moved(hours(3), 1, now), hours(2))
    assert.deepEqual(moved(hours(1.5), 1, now), hours(1))
    assert.deepEqual(windowOf(moved(DEFAULT_RANGE, 1, now), now), { from: now - HOUR, to: now })
  })

  it('has a title in the viewer’s zone', () => {
    assert.equal(rangeTitle(DEFAULT_RANGE), 'Last hour')
    assert.equal(rangeTitle({ from: { agoUs: 3 * HOUR } }), 'Last 3h')
    const at = (...time: [number, number, number, number?, number?, number?]) => new Date(...time).getTime() * 1000
    const title = (from: number, to: number) => rangeTitle(absolute({ from, to }))
    assert.match(title(at(2020, 4, 3, 14, 5), at(2020, 4, 3, 15, 0)), /^\D*3\D*2020, 14:05 – 15:00$/)
    assert.match(title(at(2020, 4, 3, 14, 5), at(2020, 4, 4, 15, 0, 7)), /, 14:05:00 – \D*4\D*2020, 15:00:07$/)
  })
})

describe('the address of a service’s page', () => {
  it('leads back to the service, whatever its name', () => {
    for (const service of ['cart', 'a/b', '..', '.', '', 'ü ?#%', '%2e%2e', '...']) {
      const url = new URL(serviceHref(service, DEFAULT_RANGE, { side: 'server' }), 'http://localhost/')
      assert.deepEqual(routeOf({ path: url.pathname, query: url.searchParams }), { page: 'service', service })
      assert.deepEqual(rangeOf(url.searchParams), DEFAULT_RANGE)
      assert.equal(url.searchParams.get('side'), 'server')
    }
  })
})
