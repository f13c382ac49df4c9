import assert from 'node:assert/strict'
import { aboutCount, tellCount, tellDuration, tellRate, tellShare } from '../../../collector/ui/parts/estimate'
import { rangeOf } from '../../../collector/ui/range/range'
import { changesUrl, comparisonOf } from '../../../collector/ui/services/comparison'
import { seriesUrl, subjectOf, subjectTitle } from '../../../collector/ui/services/subject'

const exactly = (value: number) => ({ value, low: value, high: value })
const about = (value: number, margin: number) => ({ value, low: value - margin, high: value + margin })
const words = ({ text, margin }: { text: string; margin: string }) => (margin === '' ? text : `${text} ${margin}`)

describe('an estimate in words', () => {
  it('has three digits if it is exact, and no margin', () => {
    assert.equal(words(tellRate(exactly(12.345), 1e6)), '12.3/s')
    assert.equal(words(tellRate(exactly(1234567), 1e6)), '1,234,567/s')
    assert.equal(words(tellRate(exactly(0), 1e6)), '0/h')
    assert.equal(words(tellShare(exactly(0.04136))), '4.1%')
    assert.equal(words(tellDuration(exactly(41_260))), '41.3 ms')
    assert.equal(tellDuration(exactly(41_260)).between, '')
  })

  it('has no more digits than are known, and the interval in a sentence', () => {
    assert.equal(words(tellRate(about(12.3, 0.42), 1e6)), '12.3/s ± 0.4')
    assert.equal(words(tellRate(about(12.34, 0.142), 1e6)), '12.3/s ± 0.1')
    assert.equal(words(tellRate(about(12.3, 3.7), 1e6)), '12/s ± 4')
    assert.equal(words(tellRate(about(1234, 310), 1e6)), '1,234/s ± 310')
    assert.equal(words(tellRate(about(12.3, 0.01), 1e6)), '12.3/s')
    assert.equal(tellRate(about(12.3, 0.42), 1e6).between, 'Between 11.9/s and 12.7/s, with a probability of 95%')
    assert.equal(words(tellDuration(about(41_260, 1800))), '41.3 ms ± 1.8')
    assert.equal(words(tellDuration(about(125e6, 5e6))), '2 min 05 s ± 5.00 s')
    // The farther limit counts, unless it is much farther.
    assert.equal(words(tellShare({ value: 0.05, low: 0.03, high: 0.08 })), '5% ± 3')
    assert.equal(words(tellShare({ value: 0.02, low: 0.019, high: 0.05 })), '2% +3')
    assert.equal(words(tellShare({ value: 0.03, low: 0.012, high: 0.08 })), '3% +5 −2')
    assert.equal(words(tellShare({ value: 0, low: 0, high: 0.013 })), '0% +1.3')
    assert.equal(words(tellDuration({ value: 69_000, low: 66_000, high: 179_000 })), '69 ms +110 −3')
    assert.equal(words(tellDuration({ value: 125e6, low: 124e6, high: 185e6 })), '2 min 05 s +1 min 00 s −1.00 s')
  })

  it('of a count has no more digits than are known, and is itself where it is exact', () => {
    assert.equal(aboutCount(exactly(12_345)), '12,345')
    assert.equal(aboutCount(exactly(0)), '0')
    assert.equal(aboutCount(about(12_345, 431)), 'about 12,300 (11,900–12,800)')
    assert.equal(aboutCount(about(7, 2.5)), 'about 7 (5–10)')
    assert.equal(aboutCount({ value: 900, low: 640, high: null }), '600 or more')
    assert.equal(aboutCount({ value: 900, low: null, high: null }), 'about 900')
    assert.equal(words(tellCount(about(1240, 31))), '1,240 ± 31')
    assert.equal(words(tellCount(exactly(7))), '7')
  })

  it('has the unit that makes a readable number', () => {
    assert.equal(words(tellRate(exactly(3600), 3600e6)), '1/s')
    assert.equal(words(tellRate(exactly(1800), 3600e6)), '30/min')
    assert.equal(words(tellRate(exactly(3), 3600e6)), '3/h')
    assert.equal(words(tellDuration(exactly(870))), '870 µs')
    assert.equal(words(tellDuration(exactly(1.5e6))), '1.5 s')
  })

  it('says what isn’t known', () => {
    assert.equal(words(tellShare(null)), '–')
    assert.equal(words(tellDuration(null)), '–')
    const unlimited = tellDuration({ value: 41_260, low: 20_000, high: null })
    assert.equal(words(unlimited), '41 ms +? −21')
    assert.equal(unlimited.between, '20 ms or more, with a probability of 95%')
    assert.match(tellRate({ value: 1, low: null, high: null }, 1e6).between, /^Too little was sampled/)
  })
})

describe('what the charts of a service are about', () => {
  it('is the service, an operation or an edge, and is in the address', () => {
    const of = (text: string) => subjectOf(new URLSearchParams(text))
    const url = (text: string) => seriesUrl('cart', of(text), { from: { agoUs: 60e6 } })
    assert.equal(url(''), 'api/series?from=-1m&service=cart')
    assert.equal(url('name=a&side=server'), 'api/series?from=-1m&service=cart&name=a&side=server')
    assert.deepEqual(of('name=a&side=elsewhere'), { kind: 'service' })
    const edge = 'caller=web&callee=cart&callerName=x&calleeName=y'
    assert.equal(url(edge), `api/series?from=-1m&${edge}`)
    assert.equal(subjectTitle('cart', of(edge)), 'web x → cart y')
    // Names that aren't known are asked for as such.
    const unknown = 'caller=&callee=cart&callerName=&calleeName=y'
    assert.equal(url(unknown), `api/series?from=-1m&${unknown}`)
    assert.equal(url('name=&side=server'), 'api/series?from=-1m&service=cart&name=&side=server')
    assert.equal(subjectTitle('cart', of('name=a&side=server')), 'a (server)')
  })
})

describe('what is compared', () => {
  const url = (text: string) => {
    const params = new URLSearchParams(text)
    return decodeURIComponent(changesUrl(rangeOf(params)!, comparisonOf(params), ''))
  }

  it('is a range and the time before it, a day or a week earlier', () => {
    assert.equal(url('from=-1h'), 'api/changes?from=-1h&beforeFrom=-2h&beforeTo=-1h')
    assert.equal(url('from=-2h&to=-30m'), 'api/changes?from=-2h&to=-30m&beforeFrom=-210m&beforeTo=-2h')
    assert.equal(url('from=-1h&against=day'), 'api/changes?from=-1h&beforeFrom=-25h&beforeTo=-1d')
    assert.equal(
      url('from=2026-11-22T10:00Z&to=2026-11-22T11:00Z'),
      'api/changes?from=2026-11-22T10:00:00Z&to=2026-11-22T11:00:00Z&beforeFrom=2026-11-22T09:00:00Z&beforeTo=2026-11-22T10:00:00Z',
    )
  })

  it('is the time before and after a moment, whatever the range', () => {
    assert.equal(url('from=-1h&moment=-20m'), 'api/changes?moment=-20m&span=30m')
    assert.equal(url('from=-1h&moment=2026-11-22T10:00Z&span=2h'), 'api/changes?moment=2026-11-22T10:00:00Z&span=2h')
    assert.equal(comparisonOf(new URLSearchParams('span=3000y&against=toString')).span, '30m')
  })
})
