import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type Dialect, readStatement } from '../../plugins/databases/statement'

/** Statements, what comes out, and the name: operation and table. */
const EXAMPLES: [Dialect, string, string, string][] = [
  [
    'mysql',
    "SELECT * FROM users WHERE name = 'ada' AND age > 37",
    'SELECT * FROM users WHERE name = ? AND age > ?',
    'SELECT users',
  ],
  ['mysql', 'select a from `my db`.`t` where b="x""y"', 'select a from `my db`.`t` where b=?', 'SELECT my db.t'],
  [
    'mysql',
    "INSERT IGNORE INTO t (a, b) VALUES (0x1F, 1.5e-3), (x'41', _utf8'é')",
    'INSERT IGNORE INTO t (a, b) VALUES (?, ?), (?, _utf8?)',
    'INSERT t',
  ],
  ['mysql', "SELECT 1 -- 'a secret\n, 2 # another\n/* third */ FROM t", 'SELECT ? , ? FROM t', 'SELECT t'],
  ['mysql', 'SELECT 5--3, a--b', 'SELECT ?--?, a--b', 'SELECT'],
  ['mysql', "SELECT 'it\\'s secret', 'secret'", 'SELECT ?…', 'SELECT'],
  ['mysql', "SELECT 'two\\\\', a", 'SELECT ?, a', 'SELECT'],
  ['mysql', "SELECT /*! 'a */ secret' */ 1", 'SELECT…', 'SELECT'],
  ['mysql', 'SELECT /*!40001 SQL_NO_CACHE */ a FROM t', 'SELECT a FROM t', 'SELECT t'],
  [
    'mysql',
    'UPDATE t SET a = ? WHERE b IN (?, ?, ?) AND c IN (1,-2) AND d NOT IN ((1, 2), (3, 4))',
    'UPDATE t SET a = ? WHERE b IN (?) AND c IN (?) AND d NOT IN (?)',
    'UPDATE t',
  ],
  [
    'mysql',
    'SELECT a FROM t WHERE b IN (SELECT c FROM u WHERE d = 3) AND e IN (1, f)',
    'SELECT a FROM t WHERE b IN (SELECT c FROM u WHERE d = ?) AND e IN (?, f)',
    'SELECT t',
  ],
  ['mysql', "CREATE USER ada IDENTIFIED BY 'secret", 'CREATE USER ada IDENTIFIED BY ?', 'CREATE'],
  [
    'postgresql',
    "SELECT $1, $$a secret$$, $q$ it's $$ $q$, E'it\\'s', U&'x' FROM \"Users\" WHERE a$1 = $2",
    'SELECT $1, ?, ?, ?, U&? FROM "Users" WHERE a$1 = $2',
    'SELECT Users',
  ],
  [
    'postgresql',
    "SELECT /* a /* nested 'one' */ secret */ 'x'::text, 1_000, .5, a.b FROM public.orders o",
    'SELECT ?::text, ?, ?, a.b FROM public.orders o',
    'SELECT public.orders',
  ],
  ['postgresql', "SELECT 'C:\\' , 'secret'", 'SELECT ?…', 'SELECT'],
  [
    'postgresql',
    'WITH x AS (SELECT 1 FROM y) INSERT INTO z SELECT * FROM x',
    'WITH x AS (SELECT ? FROM y) INSERT INTO z SELECT * FROM x',
    'INSERT z',
  ],
  [
    'postgresql',
    "SELECT EXTRACT(YEAR FROM d) FROM ONLY t WHERE i > INTERVAL '1 day' AND x = ANY($1)",
    'SELECT EXTRACT(YEAR FROM d) FROM ONLY t WHERE i > INTERVAL ? AND x = ANY($1)',
    'SELECT t',
  ],
  ['postgresql', 'SELECT a FROM t WHERE b IN ($1, $2, $3)', 'SELECT a FROM t WHERE b IN (?)', 'SELECT t'],
  ['postgresql', 'DELETE FROM t; COMMIT', 'DELETE FROM t; COMMIT', 'DELETE t'],
  [
    'cql',
    'SELECT a FROM ks.t WHERE id = f47ac10b-58cc-4372-a567-0e02b2c3d479 AND n = 89h4m AND p = P1Y2M // x',
    'SELECT a FROM ks.t WHERE id = ? AND n = ? AND p = ?',
    'SELECT ks.t',
  ],
  [
    'cql',
    "UPDATE t USING TTL 60 SET m = m + {'a': 1, 'b''c': 0xFF} WHERE k = $$it's$$ IF EXISTS",
    'UPDATE t USING TTL ? SET m = m + {?: ?, ?: ?} WHERE k = ? IF EXISTS',
    'UPDATE t',
  ],
  [
    'cql',
    "SELECT a FROM t WHERE k = 'C:\\' AND p1 = :p AND q IN :q",
    'SELECT a FROM t WHERE k = ? AND p1 = :p AND q IN :q',
    'SELECT t',
  ],
]

const SECRETS = ['secret', 'SECRET', '31337']

describe('a statement', () => {
  for (const [dialect, statement, expected, name] of EXAMPLES) {
    it(`of ${dialect} has no literals: ${statement.replaceAll('\n', ' ')}`, () => {
      const { text, operation, table } = readStatement(statement, dialect)
      assert.equal(text, expected)
      assert.equal(`${operation} ${table}`.trim(), name)
      const named = readStatement(statement, dialect, true)
      assert.equal(`${named.operation} ${named.table}`.trim(), name)
    })
  }

  it('has at most 1,024 characters, and a list of 100,000 values is one', () => {
    const long = readStatement(`SELECT ${'a, '.repeat(10_000)} b`, 'mysql')
    assert.equal(long.text.length, 1024)
    assert.ok(long.text.endsWith('…'))
    const list = readStatement(`SELECT a FROM t WHERE b IN (${'123, '.repeat(100_000)}4) AND c`, 'postgresql')
    assert.equal(list.text, 'SELECT a FROM t WHERE b IN (?…')
    assert.equal(readStatement(`SELECT '${'x'.repeat(10_000_000)}'`, 'mysql').text, 'SELECT ?…')
  })

  /** A literal that has a secret in it, as the dialect writes it, and text around it that isn't secret. */
  const tricky = fc
    .array(
      fc.constantFrom(
        "'",
        '"',
        '`',
        '\\',
        '$',
        '$$',
        '--',
        '#',
        '/*',
        '*/',
        '/*!',
        ' ',
        '\n',
        '\r',
        'x',
        ';',
        '(',
        ')',
        'é',
        '\u{1f600}',
      ),
      { maxLength: 6 },
    )
    .map(parts => parts.join(''))
  const secret = fc.tuple(tricky, fc.constantFrom(...SECRETS), tricky).map(parts => parts.join(' '))

  /** What the servers take for a string, by their settings. */
  const quoted: Record<Dialect, ((content: string) => string)[]> = {
    mysql: [
      content => `'${content.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`,
      content => `"${content.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`,
      content => `'${content.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`,
    ],
    postgresql: [
      content => `'${content.replaceAll("'", "''")}'`,
      content => `E'${content.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`,
      content => `$a$${content.replaceAll('$', '')}$a$`,
      content => `$$${content.replaceAll('$', '')}$$`,
    ],
    cql: [content => `'${content.replaceAll("'", "''")}'`, content => `$$${content.replaceAll('$', '')}$$`],
  }
  /** MySQL under NO_BACKSLASH_ESCAPES, PostgreSQL without standard_conforming_strings. */
  const otherwise: Record<Dialect, ((content: string) => string)[]> = {
    mysql: [content => `'${content.replaceAll("'", "''")}'`, content => `"${content.replaceAll('"', '""')}"`],
    postgresql: [content => `'${content.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`],
    cql: [],
  }
  const around = fc.constantFrom(
    ' ',
    ' = ',
    ', ',
    ' a ',
    '(',
    ') ',
    ' IN (',
    '/* c */',
    ' -- c\n',
    '\n',
    ' `q` ',
    ' 1 ',
    ' e',
    ' ?',
    ' :p ',
    ' $1 ',
    '::t ',
    '@',
    '.',
  )

  for (const dialect of ['mysql', 'postgresql', 'cql'] as const) {
    for (const [how, ways] of [
      ['by default', quoted],
      ['under other settings', otherwise],
    ] as const) {
      if (ways[dialect].length === 0) continue
      it(`of ${dialect} lets no literal out ${how}, whatever is in it and around it`, () => {
        fc.assert(
          fc.property(
            fc.array(fc.tuple(around, fc.constantFrom(...ways[dialect]), secret), { minLength: 1, maxLength: 5 }),
            parts => {
              // In PostgreSQL a word may go on with a dollar sign, and e makes another string of it.
              const written = ([before, quote, content]: (typeof parts)[0]) =>
                `${before}${dialect === 'postgresql' && /\w$/.test(before) ? ' ' : ''}${quote(content)}`
              const statement = `SELECT${parts.map(written).join('')} FROM t`
              const { text, operation, table } = readStatement(statement, dialect)
              for (const one of SECRETS)
                assert.ok(!`${text}${operation}${table}`.includes(one), `${statement}\n→ ${text}`)
            },
          ),
          { numRuns: 3000 },
        )
      })
    }
  }

  it('may be any text', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', maxLength: 300 }),
        fc.constantFrom<Dialect>('mysql', 'postgresql', 'cql'),
        (text, dialect) => {
          assert.ok(readStatement(text, dialect).text.length <= 1024)
        },
      ),
    )
  })
})
