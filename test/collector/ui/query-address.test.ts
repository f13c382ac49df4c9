import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse, print } from '../../../collector/src/query'
import {
  apiQuery,
  boxAddress,
  changedAddress,
  conditionsOf,
  fieldsAddress,
  inViewersZone,
  localIsoTime,
  orderOf,
  readAsked,
  savedQuery,
  searchOnly,
  withView,
  withZones,
  zonedTime,
} from '../../../collector/ui/find/query-address'

const params = (text: string) => new URLSearchParams(text)

import { ROOT } from '../../helpers/child'

describe('a search in the address', () => {
  it('shows times in the viewer’s zone, and means the same time again whatever the season', () => {
    const before = process.env.TZ
    try {
      for (const TZ of ['America/New_York', 'Europe/Berlin', 'Asia/Kathmandu', 'UTC']) {
        process.env.TZ = TZ
        // Both half hours of an hour that comes twice, a fraction, midnight.
        for (const time of [
          '2026-11-01T05:30:00Z',
          '2026-11-01T06:30:00Z',
          '2026-10-25T00:30:00Z',
          '2026-10-25T01:30:00.000250Z',
          '2026-07-01T12:00:01.5Z',
          '2026-01-01T00:00:00Z',
        ]) {
          const local = inViewersZone(`from:${time} error`)
          assert.deepEqual(parse(withZones(local)).query, parse(`from:${time} error`).query, local)
        }
      }
      process.env.TZ = 'America/New_York'
      assert.equal(
        inViewersZone('a=b from:2026-11-22T22:30:00Z to:"2026-07-01T12:00:01.000250Z" to=2026-11-22T22:30:00Z'),
        'a=b from:2026-11-22T17:30 to:2026-07-01T08:00:01.00025 to=2026-11-22T22:30:00Z',
      )
      assert.equal(localIsoTime('2026-11-01T06:30:00Z'), '2026-11-01T01:30:00-05:00')
      for (const text of ['-1h', 'now', 'yesterday', '0', '300000000000000000']) assert.equal(localIsoTime(text), text)
    } finally {
      if (before === undefined) delete process.env.TZ
      else process.env.TZ = before
    }
  })

  it('has the order and the live tail, which are no part of the search', () => {
    const asked = params('q=error&order=longest&live=1&before=x')
    assert.equal(orderOf(asked), 'longest')
    assert.equal(orderOf(params('order=random')), 'newest')
    assert.equal(searchOnly(asked), 'q=error')
    assert.equal(savedQuery(asked), 'q=error&order=longest')
    assert.equal(apiQuery(asked), 'q=error&order=longest&before=x')
    assert.equal(withView('search?q=a', asked), 'search?q=a&order=longest&live=1')
    assert.equal(withView('search', params('')), 'search')
  })

  it('is the same by the box and by the fields', () => {
    const text = 'name:Shop.checkout service:shop user=42 city^=Lon duration>=50ms duration<=2s error last 1h'
    const box = readAsked(params(boxAddress(text).split('?')[1]!))
    const fields = readAsked(params(fieldsAddress(box.query)!.split('?')[1]!))
    assert.equal(box.form, 'box')
    assert.equal(fields.form, 'fields')
    assert.deepEqual(fields.query, box.query)
    assert.equal(fields.text, text)
    assert.deepEqual(readAsked(params(boxAddress(fields.text).split('?')[1]!)).query, box.query)
  })

  it('means a time without a zone in the viewer’s, in the box as in the fields, and says so in the address', () => {
    const before = process.env.TZ
    process.env.TZ = 'America/New_York'
    try {
      const typed = 'from:2026-11-22T17:30 error to:"2026-07-01 08:00:01.000250" from=2026-11-22 last 1h'
      assert.equal(
        withZones(typed),
        'from:2026-11-22T22:30:00Z error to:2026-07-01T12:00:01.000250Z from=2026-11-22 last 1h',
      )
      assert.equal(zonedTime('2026-11-22'), '2026-11-22T05:00:00Z')
      for (const zoned of [
        '2026-11-22T17:30Z',
        '2026-11-22T17:30:00+01:00',
        '-1h',
        'now',
        '1780000000000000',
        '2026-02-30',
        'x',
      ]) {
        assert.equal(zonedTime(zoned), zoned)
        assert.equal(withZones(`from:${zoned}`), `from:${zoned}`)
      }
    } finally {
      if (before === undefined) delete process.env.TZ
      else process.env.TZ = before
    }
  })

  it('takes the original’s three fields', () => {
    const asked = readAsked(params('name=Cart.total&key=user&value=42'))
    assert.equal(asked.form, 'fields')
    assert.deepEqual(asked.query, { name: 'Cart.total', annotations: [{ key: 'user', value: '42', match: 'exact' }] })
  })

  it('says which conditions fields can’t have', () => {
    for (const text of ['user=""', 'a=1 "k=v"=2']) {
      assert.equal(fieldsAddress(readAsked(params(`q=${encodeURIComponent(text)}`)).query), undefined)
    }
  })

  it('stays in the box where fields can’t express it, also if they are asked for', () => {
    for (const text of ['user=1 OR user=2', 'n>5', 'root:', 'service:a > error', 'NOT user=1']) {
      const asked = readAsked(params(`fields=1&q=${encodeURIComponent(text)}`))
      assert.deepEqual([asked.form, asked.problems, fieldsAddress(asked.query)], ['box', [], undefined])
      const narrowed = changedAddress({ ...asked, form: 'fields' }, { ...asked.query, minDurationUs: 5_000 })
      assert.deepEqual(readAsked(params(narrowed.split('?')[1]!)).query, { ...asked.query, minDurationUs: 5_000 })
    }
  })

  it('loses one part at a time of what is negated, alternative or above', () => {
    const without = (q: string) =>
      conditionsOf(readAsked(params(`q=${encodeURIComponent(q)}`)).query).map(({ text, without }) => [
        text,
        print(without),
      ])
    assert.deepEqual(without('a=1 (b=1 OR c=1) NOT d=1'), [
      ['a=1', '(b=1 OR c=1) NOT d=1'],
      ['b=1 OR c=1', 'a=1 NOT d=1'],
      ['NOT d=1', 'a=1 (b=1 OR c=1)'],
    ])
    assert.deepEqual(without('service:a > service:b error'), [
      ['service:b', 'service:a > error'],
      ['error', 'service:a > service:b'],
      ['service:a >', 'service:b error'],
    ])
    assert.deepEqual(without('service:a >> error'), [['service:a >>', 'error']])
  })

  it('asks the API for what it knows, and saves no place in the results', () => {
    const query = params('q=error&saved=abc&fields=1&before=xyz&limit=100&name=')
    assert.equal(apiQuery(query), 'q=error&before=xyz&limit=100')
    assert.equal(searchOnly(query), 'q=error')
    assert.equal(searchOnly(params('')), '')
  })

  it('loses one condition at a time', () => {
    const asked = readAsked(params(`q=${encodeURIComponent('name:A user=42 error last 1h')}`))
    assert.deepEqual(
      conditionsOf(asked.query).map(({ text, without }) => [text, print(without)]),
      [
        ['name:A', 'user=42 error last 1h'],
        ['error', 'name:A user=42 last 1h'],
        ['last 1h', 'name:A user=42 error'],
        ['user=42', 'name:A error last 1h'],
      ],
    )
    assert.equal(changedAddress(asked, { name: 'A', annotations: [] }), 'search?q=name%3AA')
  })

  it('is relative, as every address that the page writes: a proxy may have put it under any path', () => {
    const ui = join(ROOT, 'collector/ui')
    const sources = readdirSync(ui, { recursive: true, encoding: 'utf8' }).filter(name => /\.tsx?$/.test(name))
    const absolute = sources.flatMap(name =>
      [
        ...readFileSync(join(ui, name), 'utf8')
          .replace(/\/\*.*?\*\//gs, '')
          .matchAll(/(?:href|action|src)="\/|[`'"]\/(?:api|search\b|services)/g),
      ].map(([found]) => `${name}: ${found}`),
    )
    assert.deepEqual(absolute, [])
    assert.ok(sources.length > 30)
  })
})
