import assert from 'node:assert/strict'
import fc from 'fast-check'
import { plainMessage } from '../../plugins/databases/message'
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

/** Messages as databases and their libraries write them, the statement, and what is kept. */
const MESSAGES: [Dialect, string, string, string?][] = [
  ['mysql', "Can't add new command when connection is in closed state", ''],
  ['cql', "Stream isn't writeable and enableOfflineQueue options is false", ''],
  ['cql', 'All host(s) tried for query failed.', ''],
  ['cql', 'The host 127.0.0.1:19042 did not reply before timeout 12000 ms', ''],
  ['postgresql', 'relation "nowhere" does not exist', 'SELECT 1 FROM nowhere'],
  ['mysql', "Can't find record in 'secret'", '', "Can't find record in …"],
  [
    'mysql',
    "Duplicate entry 'secret' for key 'PRIMARY'",
    'INSERT INTO t VALUES (?)',
    "Duplicate entry '…' for key '…'",
  ],
  ['mysql', "error near 'a'secret' at line 1", "SELECT a'secret'", 'error near …'],
  ['mysql', "error near 'a' secret' at line 1", "SELECT a' secret'", 'error near …'],
  ['mysql', "the server's value: 'secret'", '', "the server's value: …"],
  ['mysql', "'a'secret' is wrong", "SELECT a'secret'", '…'],
  ['cql', 'Invalid STRING constant (secret) for "a" of type int', 'SELECT a', 'Invalid STRING constant …'],
  [
    'cql',
    "line 1:9 no viable alternative at input 'a' secret' (SELECT…)",
    'SELECT a',
    'line 1:9 no viable alternative at input …',
  ],
  ['cql', "line 1:9 mismatched input 'a' expecting K_FROM", 'SELECT a', 'line 1:9 mismatched input …'],
  ['postgresql', 'time zone "a.Secret.id" not recognized', 'SELECT id, a AT TIME ZONE $1', 'time zone …'],
  ['postgresql', 'relation "people" does not exist', "SELECT a FROM people WHERE b = 'people'", 'relation …'],
  ['postgresql', 'relation "people" does not exist', 'SELECT a /* people */ FROM people', 'relation …'],
  ['postgresql', 'column "nmae" does not exist', 'SELECT Nmae FROM people'],
  ['postgresql', 'syntax error at or near "FORM"', 'SELECT a FORM b'],
  ['mysql', "Table 'shop.nowhere' doesn't exist", 'SELECT a FROM nowhere', "Table '….nowhere' doesn't exist"],
  ['mysql', "Unknown column 'nmae' in 'where clause'", 'SELECT a FROM t WHERE nmae = 1'],
  ['mysql', 'Deadlock found when trying to get lock; try restarting transaction', ''],
  ['cql', 'Undefined column name nothing in table system.local', 'SELECT nothing FROM system.local'],
  ['cql', 'Undefined column name nothing', 'SELECT a AS nothing', undefined],
  ['cql', 'WRONGTYPE Operation against a key holding the wrong kind of value', ''],
  [
    'cql',
    "ERR unknown command 'nonsense', with args beginning with: 'secret' ",
    'NONSENSE',
    "ERR unknown command 'nonsense', with …",
  ],
  ['postgresql', 'syntax error at or near "secret"', "SELECT 'x' 'secret'", 'syntax error at or near …'],
  ['postgresql', 'value 31337 is out of range', '', 'value …'],
  ['postgresql', 'time zone "id" is Bob Smith" not recognized', 'SELECT AT TIME ZONE $1 AS id', 'time zone …'],
  [
    'mysql',
    "Variable can't be set to the value of 'mode' and Bob'",
    'SET mode=?',
    "Variable can't be set to the value of …",
  ],
  ['postgresql', 'date field value out of range: 1987-13-45', '', 'date field value out of range: …'],
  ['postgresql', 'setseed parameter 77 is out of allowed range [-1,1]', '', '…'],
  ['mysql', 'Unknown thread id: 42', '', 'Unknown thread id: …'],
  ['mysql', "Out of range value for column 'c' at row 1", 'INSERT INTO t (c) VALUES (?)'],
  ['cql', 'A TTL must be greater or equal to 0, but was -7', '', 'A TTL must be greater or equal to …'],
  ['cql', 'ERR invalid longitude,latitude pair 200.500000,1.000000', '', 'ERR invalid longitude,latitude pair …'],
  ['cql', 'Invalid date: Alice Smith, High Street', '', 'Invalid date: …'],
  ['cql', 'Value could not be parsed as InetAddress: Bob', '', 'Value could not be parsed as …'],
  ['cql', 'Not a valid text value, expected String obtained true', '', 'Not a valid text value, expected String …'],
  ['mysql', 'Too many connections', ''],
  ['mysql', 'Subquery returns more than 1 row', 'SELECT (SELECT a FROM t)'],
  [
    'mysql',
    "Field 'name' doesn't have a default value",
    'INSERT INTO t VALUES ()',
    "Field '…' doesn't have a default value",
  ],
  ['mysql', "Column 'name' cannot be null", 'INSERT INTO t (name) VALUES (?)'],
  [
    'mysql',
    "Incorrect integer value: 'Bob' for column `d`.`t`.`b` at row 1",
    "INSERT INTO t (b) VALUES ('Bob')",
    "Incorrect integer value: '…' for column … at row …",
  ],
  ['postgresql', 'sorry, too many clients already', ''],
  ['postgresql', 'column reference "id" is ambiguous', 'SELECT id FROM t, u'],
  ['postgresql', 'password authentication failed for user "bob"', '', 'password authentication failed for user "…"'],
  ['postgresql', 'current transaction is aborted, commands ignored until end of transaction block', 'SELECT 1'],
  ['postgresql', 'malformed array literal: "Bob"', "SELECT 'Bob'::int[]", 'malformed array literal: "…"'],
  // A parameter may be like a name.
  ['postgresql', 'malformed array literal: "name"', 'SELECT name FROM t WHERE a = $1', 'malformed array literal: "…"'],
  [
    'postgresql',
    'invalid input value for enum mood: "name"',
    'SELECT name::mood FROM t WHERE id = $1',
    'invalid input value for enum mood: "…"',
  ],
  [
    'mysql',
    "Incorrect integer value: 'name' for column 'id' at row 1",
    'UPDATE t SET name = ?, id = ?',
    "Incorrect integer value: '…' for column 'id' at row …",
  ],
  ['cql', 'CLUSTERDOWN The cluster is down', 'GET'],
  ['cql', 'Some clustering keys are missing: c', 'INSERT INTO t (a) VALUES (1)', 'Some clustering keys are missing: …'],
  [
    'cql',
    "localDataCenter was configured as 'dc9', but only found hosts in data centers: [dc1]",
    '',
    "localDataCenter was configured as '…', but only found hosts in data centers: […]",
  ],
]

describe('a database’s message', () => {
  for (const [dialect, message, statement, expected = message] of MESSAGES) {
    it(`is kept up to the first value: ${message}`, () => {
      assert.equal(plainMessage(message, statement, dialect), expected)
    })
  }

  it('lets no value out, whatever is in it', () => {
    const templates: [Dialect, (value: string) => string][] = [
      ['mysql', value => `Duplicate entry '${value}' for key 'x'`],
      ['mysql', value => `Incorrect integer value: '${value}' for column \`x\`.\`t\`.\`b\` at row 1`],
      ['mysql', value => `check the manual for the right syntax to use near '${value}' at line 1`],
      ['postgresql', value => `invalid input syntax for type integer: "${value}"`],
      ['postgresql', value => `value "${value}" is out of range for type integer`],
      ['cql', value => `Invalid STRING constant (${value}) for "x" of type int`],
    ]
    const quoted = fc.array(fc.constantFrom("'", '"', '`', 'x', 'it', ' ', "'s ", "n't ", '(s)', 'é'), { maxLength: 6 })
    fc.assert(
      fc.property(
        fc.constantFrom(...templates),
        quoted,
        fc.constantFrom(...SECRETS),
        ([dialect, say], parts, secret) => {
          const text = plainMessage(
            say(`${parts.join('')} ${secret} ${[...parts].reverse().join('')}`),
            'SELECT x, it, é',
            dialect,
          )
          assert.ok(!text.includes(secret), text)
        },
      ),
      { numRuns: 3000 },
    )
  })

  it('has no word of a literal or a parameter, whatever the statement, and the names it speaks of', () => {
    const quote: Record<Dialect, string> = { mysql: '`', postgresql: '"', cql: '' }
    const dialects = fc.constantFrom<Dialect>('mysql', 'postgresql', 'cql')
    const word = fc.stringMatching(/^[a-z_$é]{0,3}zq[a-z0-9_$é]{0,5}$/)
    const around = fc.array(fc.constantFrom("'", '"', '`', ' ', ', ', ': ', '.', '(', ')', 'table ', '$', '\\', '\n'), {
      maxLength: 4,
    })
    const value = fc.tuple(around, word, around).map(([a, b, c]) => `${a.join('')}${b}${c.join('')}`)
    const say: ((name: string, value: string) => string)[] = [
      (name, value) => `column ${name} does not exist near '${value}'`,
      (name, value) => `relation "${value}" does not exist in table ${name}`,
      (name, value) => `syntax error at or near ${value} of table ${name}`,
      (name, value) => `Table '${value}.${name}' doesn't exist`,
      (name, value) => `Unknown column '${name}.${value}' in 'where clause'`,
      (name, value) => `no viable alternative at input ${value} (${name})`,
      (name, value) => `function ${value}(${name}) does not exist`,
      (_, value) => value,
      (_, value) => `type ${value}`,
      (_, value) => `key ${value}`,
    ]
    fc.assert(
      fc.property(dialects, word, value, value, fc.constantFrom(...say), (dialect, word, literal, bound, say) => {
        const name = `n${word}`
        const quoted = `${quote[dialect]}${name}${quote[dialect]}`
        const text = literal.replaceAll('\\', '\\\\').replaceAll("'", "''")
        const statement = `SELECT ${quoted} FROM t WHERE a = '${text}' AND b = ?`
        for (const one of [literal, bound]) {
          const told = plainMessage(say(name, one), statement, dialect).replaceAll(name, '')
          assert.ok(!told.includes('zq'), `${statement}\n${say(name, one)}\n→ ${told}`)
        }
      }),
      { numRuns: 3000, seed: 17 },
    )
  })

  it('is read in time that grows with its length', () => {
    const long = "server's table ".repeat(100_000)
    // It is cut within a word that is none of the known ones.
    assert.equal(plainMessage(long, '', 'mysql'), `${long.slice(0, 4095)}…`)
    assert.equal(plainMessage(`${'.'.repeat(4095)}x`, '', 'mysql'), '…')
  })
})
