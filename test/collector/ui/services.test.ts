import assert from 'node:assert/strict'
import type { EdgeFigures, ServicesAnswer } from '../../../collector/src/http/answers'
import { errorClass } from '../../../collector/ui/parts/estimate'
import { kindsOf, unreported } from '../../../collector/ui/services/node-kinds'
import { slowness } from '../../../collector/ui/services/usual-figures'
import { routeOf } from '../../../collector/ui/shell/route'

const exact = (value: number) => ({ value, low: value, high: value })
const edge = (from: string, to: string) => ({ from, to }) as EdgeFigures
const services = (...names: string[]) => ({
  services: names.map(service => ({ service })) as ServicesAnswer['services'],
})

describe('figures of services', () => {
  it('are graded by the share of failed calls', () => {
    const classes = [0, 0.00029, 0.0099, 0.01, 0.049, 0.05, 0.249, 0.25, 1].map(share => errorClass(exact(share)))
    assert.deepEqual(classes, ['none', 'low', 'low', 'medium', 'medium', 'high', 'high', 'severe', 'severe'])
    assert.equal(errorClass(null), 'none')
  })

  it('are slow by what is usual, and only if chance doesn’t explain it', () => {
    assert.deepEqual(
      [50_000, 66_000, 67_000, 100_000, 101_000].map(us => slowness(exact(us), 50_000)),
      [undefined, undefined, 'medium', 'medium', 'high'],
    )
    assert.equal(slowness({ value: 500_000, low: 51_000, high: null }, 50_000), undefined)
    assert.equal(slowness({ value: 500_000, low: null, high: null }, 50_000), undefined)
    assert.equal(slowness(exact(500_000), undefined), undefined)
  })
})

describe('the nodes of the graph of services', () => {
  const edges = [
    edge('web', 'shop'),
    edge('shop', 'mysql'),
    edge('kafka', 'shop'),
    edge('job', 'shop'),
    edge('web', 'x'),
    edge('kafka', 'mailer'),
  ]
  it('are services, databases, queues, and what reports no spans', () => {
    const names = unreported(edges, services('web', 'shop'))
    assert.deepEqual(names, ['mysql', 'kafka', 'job', 'x', 'mailer'])
    const said = {
      peers: [
        { name: 'mysql', kind: 'database' },
        { name: 'kafka', kind: 'queue' },
        { name: 'job', kind: 'unknown' },
      ],
    } as const
    const kinds = kindsOf(edges, names, { peers: [...said.peers] }, false)
    // What takes messages from a queue says so itself.
    assert.deepEqual(Object.fromEntries(kinds), {
      mysql: 'database',
      kafka: 'queue',
      job: 'service',
      x: 'silent',
      mailer: 'service',
    })
    // With more services than are known to report, nobody knows of the rest.
    assert.equal(kindsOf(edges, names, { peers: [] }, true).get('x'), 'service')
  })

  it('that are asked about have names, and are few', () => {
    const many = [edge('web', ''), edge('web', '(other)'), ...[...Array(80).keys()].map(i => edge('web', `h${i}`))]
    const names = unreported(many, services('web'))
    assert.deepEqual([names.length, names[0], names[49]], [50, 'h0', 'h49'])
  })
})

describe('addresses of pages', () => {
  const page = (href: string) => {
    const { pathname, searchParams } = new URL(href, 'http://milo')
    return routeOf({ path: pathname, query: searchParams })
  }
  it('lead to pages, also by the names of other systems, and wrong ones to a page that says so', () => {
    assert.deepEqual(page('/').page, 'find')
    assert.deepEqual(page('/search/?q=x').page, 'find')
    assert.deepEqual(page('/dependencies').page, 'graph')
    assert.deepEqual(page('/upload').page, 'upload')
    assert.deepEqual(page('/services/a%2Fb'), { page: 'service', service: 'a/b' })
    for (const path of ['/nothing', '/trace', '/graph/x', '/services/a/b', '/traces/1', '/upload/1']) {
      assert.equal(page(path).page, 'missing', path)
    }
  })
})
