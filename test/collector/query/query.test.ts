import assert from 'node:assert/strict'
import fc from 'fast-check'
import {
  type Condition,
  completionAt,
  insertCompletion,
  mayJoin,
  parse,
  parseAnnotation,
  parseDurationUs,
  parseTime,
  print,
  printAnnotation,
  printDurationUs,
  printTime,
  type Query,
  type SpanQuery,
  timeUs,
  type Where,
} from '../../../collector/src/query'
import { drawnSpan, drawnWhere } from '../../helpers/drawn-where'

/** Words that the language gives a meaning, and characters that it does, among any others. */
const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.string({ unit: fc.constantFrom(...'ab5:=^*<>!()"\\ \n\tµé☃-.'.split('')), maxLength: 12 }),
  fc.constantFrom(
    'name',
    'service',
    'key',
    'from',
    'to',
    'last',
    'error',
    '!error',
    'duration',
    'now',
    '-1h',
    '1h',
    '',
    'root',
    'OR',
    'AND',
    'NOT',
    '(',
    ')',
    '>',
    '>>',
    '<',
    '5',
    'a>=5',
    'NOT(a',
  ),
)
const match = fc.constantFrom('exact', 'prefix', 'contains')
const annotation = fc.oneof(
  fc.record({ key: text, match: fc.constant('exact') }, { noNullPrototype: true }),
  fc.record({ value: text, match }, { noNullPrototype: true }),
  fc.record({ key: text, value: text, match }, { noNullPrototype: true }),
)
const us = fc.oneof(fc.integer({ min: 0, max: 100_000_000 }), fc.maxSafeNat())
const time = fc.oneof(
  us.map(agoUs => ({ agoUs })),
  us.map(atUs => ({ atUs })),
)
const fields = fc.record(
  {
    name: text,
    service: text,
    minDurationUs: us,
    maxDurationUs: us,
    annotations: fc.array(annotation, { maxLength: 5 }),
    error: fc.boolean(),
  },
  { requiredKeys: ['annotations'], noNullPrototype: true },
) as fc.Arbitrary<SpanQuery>
const condition = fc.oneof(
  fc.record({ kind: fc.constant('name'), name: text }),
  fc.record({ kind: fc.constant('service'), service: text }),
  fc.record({ kind: fc.constantFrom('minDuration', 'maxDuration'), us }),
  fc.record({ kind: fc.constant('error'), error: fc.boolean() }),
  annotation.map(condition => ({ kind: 'annotation', ...condition })),
  fc.record({
    kind: fc.constant('number'),
    key: text,
    compare: fc.constantFrom('>', '>=', '<', '<='),
    number: fc.oneof(
      fc.integer(),
      fc.double({ noDefaultInfinity: true, noNaN: true }).map(n => n + 0),
    ),
  }),
  fc.record({ kind: fc.constant('root'), name: text }, { requiredKeys: ['kind'], noNullPrototype: true }),
) as fc.Arbitrary<Condition>
const query = fc
  .tuple(
    fc.oneof(fields, drawnSpan(fields, drawnWhere(condition))),
    fc.record({ from: time, to: time }, { requiredKeys: [], noNullPrototype: true }),
  )
  .map(([span, times]) => ({ ...span, ...times }) as Query)

function value(key: string, value: string): Where {
  return { kind: 'annotation', key, value, match: 'exact' }
}

describe('the query language', () => {
  const cases: [string, Query][] = [
    ['', { annotations: [] }],
    ['  \n\t ', { annotations: [] }],
    ['name:Shop.checkout', { name: 'Shop.checkout', annotations: [] }],
    ['name: Shop.checkout service:"front end"', { name: 'Shop.checkout', service: 'front end', annotations: [] }],
    ['user=42', { annotations: [{ key: 'user', value: '42', match: 'exact' }] }],
    [
      'city^=Lon note*="a b"',
      {
        annotations: [
          { key: 'city', value: 'Lon', match: 'prefix' },
          { key: 'note', value: 'a b', match: 'contains' },
        ],
      },
    ],
    [
      'key:user key: user',
      {
        annotations: [
          { key: 'user', match: 'exact' },
          { key: 'user', match: 'exact' },
        ],
      },
    ],
    ['=42', { annotations: [{ value: '42', match: 'exact' }] }],
    [
      '^=4 *=2',
      {
        annotations: [
          { value: '4', match: 'prefix' },
          { value: '2', match: 'contains' },
        ],
      },
    ],
    ['paid', { annotations: [{ value: 'paid', match: 'contains' }] }],
    ['"a \\"b\\" \\\\"', { annotations: [{ value: 'a "b" \\', match: 'contains' }] }],
    ['url=http://x/?a=b^=c', { annotations: [{ key: 'url', value: 'http://x/?a=b^=c', match: 'exact' }] }],
    ['http://x', { annotations: [{ value: 'http://x', match: 'contains' }] }],
    [
      'name=x "name:x" error=y',
      {
        annotations: [
          { key: 'name', value: 'x', match: 'exact' },
          { value: 'name:x', match: 'contains' },
          { key: 'error', value: 'y', match: 'exact' },
        ],
      },
    ],
    [
      'a="" ""="" key:""',
      {
        annotations: [
          { key: 'a', value: '', match: 'exact' },
          { key: '', value: '', match: 'exact' },
          { key: '', match: 'exact' },
        ],
      },
    ],
    ['error', { error: true, annotations: [] }],
    ['!error "error"', { error: false, annotations: [{ value: 'error', match: 'contains' }] }],
    ['duration>50ms duration<=2s', { minDurationUs: 50_001, maxDurationUs: 2_000_000, annotations: [] }],
    ['duration>=1.5s duration<2s', { minDurationUs: 1_500_000, maxDurationUs: 1_999_999, annotations: [] }],
    ['last 1h', { from: { agoUs: 3_600_000_000 }, annotations: [] }],
    ['from:-1h to:now', { from: { agoUs: 3_600_000_000 }, to: { agoUs: 0 }, annotations: [] }],
    [
      '(status>=500 OR error) NOT city=London service:shop',
      {
        service: 'shop',
        annotations: [],
        where: {
          kind: 'all',
          of: [
            {
              kind: 'any',
              of: [
                { kind: 'number', key: 'status', compare: '>=', number: 500 },
                { kind: 'error', error: true },
              ],
            },
            { kind: 'not', of: value('city', 'London') },
          ],
        },
      },
    ],
    [
      'a=1 b=2 OR c=3 last 1h',
      {
        from: { agoUs: 3_600_000_000 },
        annotations: [],
        where: { kind: 'any', of: [{ kind: 'all', of: [value('a', '1'), value('b', '2')] }, value('c', '3')] },
      },
    ],
    [
      'service:shop > root: >> payment error',
      {
        error: true,
        annotations: [{ value: 'payment', match: 'contains' }],
        above: {
          at: 'anywhere',
          span: {
            annotations: [],
            where: { kind: 'root' },
            above: { at: 'parent', span: { service: 'shop', annotations: [] } },
          },
        },
      },
    ],
    ['root:Shop.checkout', { annotations: [], where: { kind: 'root', name: 'Shop.checkout' } }],
    ['(((a=1)) AND (error))', { annotations: [{ key: 'a', value: '1', match: 'exact' }], error: true }],
    ['NOT NOT a=1 NOT error', { annotations: [{ key: 'a', value: '1', match: 'exact' }], error: false }],
    [
      'NOT(a=f(x)) "OR" or "(" (fn(y))',
      {
        annotations: [
          { value: 'OR', match: 'contains' },
          { value: 'or', match: 'contains' },
          { value: '(', match: 'contains' },
          { value: 'fn(y)', match: 'contains' },
        ],
        where: { kind: 'not', of: value('a', 'f(x)') },
      },
    ],
    [
      'n>5 "a b"<=-.5e1 x>y ">5" duration>5ms "duration">5',
      {
        minDurationUs: 5_001,
        annotations: [
          { value: 'x>y', match: 'contains' },
          { value: '>5', match: 'contains' },
        ],
        where: {
          kind: 'all',
          of: [
            { kind: 'number', key: 'n', compare: '>', number: 5 },
            { kind: 'number', key: 'a b', compare: '<=', number: -5 },
            { kind: 'number', key: 'duration', compare: '>', number: 5 },
          ],
        },
      },
    ],
    ['from:1970-01-01T00:00:01.5Z to:2000000', { from: { atUs: 1_500_000 }, to: { atUs: 2_000_000 }, annotations: [] }],
  ]
  for (const [source, expected] of cases) {
    it(`understands ${JSON.stringify(source)}`, () =>
      assert.deepEqual(parse(source), { query: expected, problems: [] }))
  }

  const wrong: [string, number, number, RegExp][] = [
    ['a name:', 2, 5, /^name: has no value: give/],
    ['user= b', 0, 5, /^user= has no value: .*""/],
    ['x "a b', 2, 4, /quote is not closed/],
    ['duration', 0, 8, /duration>50ms/],
    ['duration>', 0, 9, /20us, 50ms/],
    ['duration>5', 0, 10, /20us, 50ms/],
    ['duration>5parsec', 0, 16, /20us, 50ms/],
    ['duration<0us', 0, 12, /give another/],
    ['last', 0, 4, /^last needs a duration: give/],
    ['last week', 0, 9, /^last needs a duration: give/],
    ['from:yesterday', 0, 14, /^from is not a time: give/],
    ['from:2026-02-30', 0, 15, /^from is not a time: give/],
    ['name:a name:b', 7, 6, /one name/],
    ['error !error', 6, 6, /twice/],
    ['last 1h from:-2h', 8, 8, /twice/],
    ['duration>1s duration>=2s', 12, 12, /twice/],
    ['duration>2s duration<1s', 0, 23, /swap/],
    ['from:now to:-1h', 0, 15, /swap/],
    ['from:2 to:1', 0, 11, /swap/],
    ['user!=42', 0, 8, /^write NOT user=42/],
    ['a > 5', 2, 1, /^write a>5 without spaces/],
    ['status >= 5', 7, 2, /without spaces, such as status>=500/],
    ['status < 5', 7, 1, /without spaces, such as status>=500/],
    ['n>1e999', 0, 7, /too large/],
    ['n>=many', 0, 7, /comparison needs a number/],
    ['n<=', 0, 3, /comparison needs a number/],
    ['a OR', 2, 2, /condition on both sides/],
    ['OR a', 0, 2, /condition on both sides/],
    ['a OR last 1h', 2, 2, /condition on both sides/],
    ['a AND', 2, 3, /condition on both sides/],
    ['a NOT', 2, 3, /condition after it/],
    ['NOT NOT NOT', 0, 3, /condition after it/],
    ['NOT last 1h', 0, 3, /time range can't be negated/],
    ['a > ', 2, 1, /conditions on both sides/],
    ['last 1h >> a', 8, 2, /conditions on both sides/],
    ['(a', 0, 1, /^is not closed: add \)/],
    ['((a', 1, 1, /^is not closed: add \)/],
    ['a) b', 1, 1, /closes no parenthesis/],
    ['()', 0, 1, /nothing within/],
    ['(a > b)', 3, 1, /can't stand within parentheses/],
    ['(a last 1h)', 3, 7, /time range can't stand within parentheses/],
    ['(name:a b) name:c', 11, 6, /one name/],
    [`${'('.repeat(10_000)}a`, 32, 1, /more than 32 deep/],
    ['a '.repeat(10).replaceAll('a ', '(a OR b) '), 0, 90, /more than 32 alternatives/],
    [Array.from({ length: 1000 }, (_, i) => `a=${i}`).join(' OR '), 0, 8886, /1000 conditions: give at most 32/],
    [Array.from({ length: 1000 }, () => 'a').join(' > '), 126, 1, /more than 32 spans/],
  ]
  for (const [source, at, length, message] of wrong) {
    it(`says what is wrong with ${JSON.stringify(source.slice(0, 60))}, and where`, () => {
      const { problems } = parse(source)
      assert.equal(problems.length, 1)
      assert.deepEqual([problems[0]!.at, problems[0]!.length], [at, length])
      assert.match(problems[0]!.message, message)
    })
  }

  it('keeps the good parts of a query that has bad ones', () => {
    assert.deepEqual(parse('user=42 duration>x error').query, {
      annotations: [{ key: 'user', value: '42', match: 'exact' }],
      error: true,
    })
  })

  it('reads back any query that it prints', () => {
    fc.assert(
      fc.property(query, q => assert.deepEqual(parse(print(q)).query, q)),
      { numRuns: 2000 },
    )
  })

  it('prints any query that it has read in a form that gives the same query', () => {
    fc.assert(
      fc.property(text, text, text, (a, b, c) => {
        const { query } = parse(`${a}${b} ${c}`)
        assert.deepEqual(parse(print(query)).query, query)
      }),
      { numRuns: 3000 },
    )
  })

  it('reads what is nested and negated without end in no time', () => {
    for (const source of ['NOT '.repeat(50_000), ')'.repeat(50_000), '('.repeat(50_000), 'a OR '.repeat(20_000)]) {
      assert.ok(parse(source).problems.length > 0)
    }
    assert.deepEqual(parse(`${'NOT '.repeat(50_000)}a=1`).query.annotations, [{ key: 'a', value: '1', match: 'exact' }])
  })

  it('gives its problems positions within the text, whatever the text', () => {
    fc.assert(
      fc.property(fc.array(text), parts => {
        const source = parts.join('')
        for (const { at, length } of parse(source).problems) {
          assert.ok(at >= 0 && length > 0 && at + length <= source.length)
        }
      }),
    )
  })

  it('reads back durations and times that it prints', () => {
    fc.assert(fc.property(us, n => assert.equal(parseDurationUs(printDurationUs(n)), n)))
    fc.assert(fc.property(time, t => assert.deepEqual(parseTime(printTime(t)), t)))
    assert.equal(printDurationUs(1_500_000), '1.5s')
    assert.equal(printDurationUs(50_000), '50ms')
    assert.equal(printDurationUs(3_600_000_000), '1h')
    assert.equal(printTime({ atUs: 1_700_000_000_000_001 }), '2023-11-14T22:13:20.000001Z')
  })

  it('accepts ISO times with zones, to the microsecond, and reads those without a zone as UTC', () => {
    const at = 1_700_000_000_000_000
    for (const iso of [
      '2023-11-14T22:13:20Z',
      '2023-11-14T22:13:20',
      '2023-11-14 23:13:20.000+01:00',
      '2023-11-14T17:13:20-0500',
    ]) {
      assert.deepEqual(parseTime(iso), { atUs: at }, iso)
    }
    assert.deepEqual(parseTime('2023-11-14'), { atUs: 1_699_920_000_000_000 })
    for (const bad of [
      '2023-13-01',
      '2023-02-29',
      '2023-11-14T25:00',
      '99999999999999999',
      '-',
      '-1',
      '1h',
      '1969-01-01',
      'Nov 14',
    ]) {
      assert.equal(parseTime(bad), undefined, bad)
    }
    assert.equal(timeUs({ agoUs: 5 }, 12), 7)
    assert.equal(timeUs({ agoUs: 50 }, 12), 0)
  })

  it("reads back a URL's conditions that it prints, and prints none that it couldn't read", () => {
    fc.assert(
      fc.property(annotation, condition => {
        const printed = printAnnotation(condition as never)
        if (printed !== undefined) assert.deepEqual(parseAnnotation(printed), condition)
      }),
    )
    assert.equal(printAnnotation({ key: 'a', value: 'b=c', match: 'prefix' }), 'a^=b=c')
    assert.equal(printAnnotation({ key: 'a=', value: 'b', match: 'exact' }), undefined)
  })

  describe('while it is typed', () => {
    /** @param marked the text, with | for the cursor */
    function at(marked: string) {
      return completionAt(marked.replace('|', ''), marked.indexOf('|'))
    }

    const contexts: [string, ReturnType<typeof completionAt>][] = [
      ['|', { field: 'key', prefix: '', from: 0, to: 0 }],
      ['us|', { field: 'key', prefix: 'us', from: 0, to: 2 }],
      ['a=b us|er=x', { field: 'key', prefix: 'us', from: 4, to: 8 }],
      ['name:|', { field: 'name', prefix: '', from: 5, to: 5 }],
      ['name: |', { field: 'name', prefix: '', from: 6, to: 6 }],
      ['name:Sh|op x', { field: 'name', prefix: 'Sh', from: 5, to: 9 }],
      ['service:"front e|', { field: 'service', prefix: 'front e', from: 8, to: 16 }],
      ['key:us|', { field: 'key', prefix: 'us', from: 4, to: 6 }],
      ['user=|', { field: 'value', key: 'user', prefix: '', from: 5, to: 5 }],
      ['user^=4|', { field: 'value', key: 'user', prefix: '4', from: 6, to: 7 }],
      ['"a b"="c |d" x', { field: 'value', key: 'a b', prefix: 'c ', from: 6, to: 11 }],
      ['=4|', undefined],
      ['user=42 |', { field: 'key', prefix: '', from: 8, to: 8 }],
      ['duration>5|', undefined],
      ['last 1|', undefined],
      ['from:-1|', undefined],
      ['(us|', { field: 'key', prefix: 'us', from: 1, to: 3 }],
      ['(|', { field: 'key', prefix: '', from: 1, to: 1 }],
      ['NOT user=4|)', { field: 'value', key: 'user', prefix: '4', from: 9, to: 10 }],
      ['root:Sh|', { field: 'name', prefix: 'Sh', from: 5, to: 7 }],
      ['root: us|', { field: 'key', prefix: 'us', from: 6, to: 8 }],
      ['service:a > name:|', { field: 'name', prefix: '', from: 17, to: 17 }],
      ['status>|', { field: 'value', key: 'status', numbers: true, prefix: '', from: 7, to: 7 }],
      ['status>=|', { field: 'value', key: 'status', numbers: true, prefix: '', from: 8, to: 8 }],
      ['status>=5|', { field: 'value', key: 'status', numbers: true, prefix: '5', from: 8, to: 9 }],
    ]
    for (const [marked, expected] of contexts) {
      it(`completes the right field at ${marked}`, () => assert.deepEqual(at(marked), expected))
    }

    it('replaces what was typed with a choice, in quotes if it needs them', () => {
      const put = (marked: string, choice: string) => {
        const { text, cursor } = insertCompletion(marked.replace('|', ''), at(marked)!, choice)
        return `${text.slice(0, cursor)}|${text.slice(cursor)}`
      }
      assert.equal(put('name:Sh|', 'Shop.checkout'), 'name:Shop.checkout |')
      assert.equal(put('us| error', 'user'), 'user=| error')
      assert.equal(put('us|er=42', 'user id'), '"user id"|=42')
      assert.equal(put('city=L|on error', 'Los Angeles'), 'city="Los Angeles"| error')
      assert.equal(put('key:us|', 'user'), 'key:user |')
      assert.equal(put('a=b |', 'x=y'), 'a=b "x=y"=|')
      assert.equal(put('(us|)', 'user'), '(user=|)')
      assert.equal(put('(user=4|)', '4)'), '(user="4)"|)')
      assert.equal(put('root: us|', 'user'), 'root: user=|')
      assert.equal(put('status>=5|', '500'), 'status>=500 |')
    })

    it('knows where OR and > may stand', () => {
      const can = (marked: string) => mayJoin(marked.replace('|', ''), marked.indexOf('|'))
      assert.deepEqual(['a=b |', 'a=b O|', '(a) |', 'a OR b |'].map(can), [true, true, true, true])
      assert.deepEqual(['|', 'a|', 'a OR |', 'a OR b|', '(|', 'NOT |', 'a > |'].map(can), Array(7).fill(false))
    })

    it('inserts any choice so that it is parsed as that choice', () => {
      fc.assert(
        fc.property(text, choice => {
          for (const [before, read] of [
            ['name:', (q: Query) => q.name],
            ['user=', (q: Query) => q.annotations[0]?.value],
            ['key:', (q: Query) => q.annotations[0]?.key],
          ] as const) {
            const { text: completed } = insertCompletion(before, completionAt(before, before.length)!, choice)
            assert.equal(read(parse(completed).query), choice)
          }
          const { text: completed } = insertCompletion('', completionAt('', 0)!, choice)
          assert.equal(parse(`${completed}v`).query.annotations[0]?.key, choice)
        }),
      )
    })

    it('gives positions within the text, whatever the text', () => {
      fc.assert(
        fc.property(fc.array(text), fc.nat(60), (parts, n) => {
          const source = parts.join('')
          const cursor = Math.min(n, source.length)
          const completion = completionAt(source, cursor)
          if (completion !== undefined) {
            assert.ok(completion.from <= cursor && cursor <= completion.to && completion.to <= source.length)
          }
        }),
      )
    })
  })
})
