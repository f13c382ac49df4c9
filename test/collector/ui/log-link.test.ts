import assert from 'node:assert/strict'
import fc from 'fast-check'
import { logLink } from '../../../collector/ui/trace/log-link'

const subject = {
  traceId: '112210f47de98115',
  spanId: '0000000000000002',
  service: 'cart',
  from: Date.parse('2026-11-30T02:48:00Z') * 1000,
  to: Date.parse('2026-11-30T02:49:00Z') * 1000,
}

describe('a link to logs', () => {
  it('has the values in the places of their names, and a minute more on both sides', () => {
    assert.equal(
      logLink(
        'https://logs.example/{service}?q={traceId}+{spanId}&from={from}&to={to}&ms={fromMs}-{toMs}&{other}',
        subject,
      ),
      'https://logs.example/cart?q=112210f47de98115+0000000000000002&from=2026-11-30T02%3A47%3A00.000Z&to=2026-11-30T02%3A50%3A00.000Z&ms=1796006820000-1796007000000&{other}',
    )
  })

  it('is none where the template is no link of the web, or the time no date', () => {
    for (const template of [
      'javascript:alert(1)',
      'data:text/html,x',
      '//logs.example/',
      'logs',
      '',
      'https://{service}/',
    ]) {
      assert.equal(logLink(template, subject), undefined, template)
    }
    assert.equal(logLink('https://logs.example/', { ...subject, from: 1e300 }), undefined)
    assert.equal(logLink('https://logs.example/', { ...subject, to: Number.NaN }), undefined)
  })

  it('leads to the same host and path with the same parameters, whatever a service is called', () => {
    const names = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: fc.constantFrom(...'/?#&=%.:@\\{}"\'<>() ', '\ud800', 'ä', 'service') }),
    )
    fc.assert(
      fc.property(names, service => {
        for (const template of [
          'https://logs.example/app/{service}/x?q={service}&z=1#a={service}',
          'https://logs.example?{service}',
        ]) {
          const link = logLink(template, { ...subject, service })
          if (link === undefined) {
            assert.match(service, /^\.{1,2}$/)
            continue
          }
          const url = new URL(link)
          assert.equal(url.origin, 'https://logs.example')
          if (!template.includes('app')) continue
          assert.equal(url.pathname.split('/').length, 4)
          assert.deepEqual([...url.searchParams.keys()], ['q', 'z'])
          assert.equal(url.searchParams.get('q'), service.replace(/\p{Surrogate}/gu, '\ufffd'))
        }
      }),
    )
    assert.equal(logLink('https://logs.example/app/{service}/x', { ...subject, service: '..' }), undefined)
  })
})
