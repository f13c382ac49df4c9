import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { type Config, ConfigError, changedKeys, loadConfig } from '../../collector/src/config'
import { DEFAULT_DENY } from '../../collector/src/store/search/index-policy'
import { ROOT } from '../helpers/child'
import { temporaryDirectory, undo } from './support'

const USER = `anna:scrypt$32768$8$1$${'s'.repeat(22)}$${'h'.repeat(43)}`
const TOKEN = `grafana:read:sha256$${'h'.repeat(43)}`

describe('the configuration', () => {
  afterEach(undo)

  function yaml(text: string): string {
    const file = join(temporaryDirectory(), 'collector.yaml')
    writeFileSync(file, text)
    return file
  }

  function load(text: string, env: NodeJS.ProcessEnv = {}): Config {
    return loadConfig(yaml(text), env).config
  }

  /** The problems, without the file's name before them. */
  function problems(text: string, env: NodeJS.ProcessEnv = {}): string[] {
    const file = yaml(text)
    try {
      loadConfig(file, env)
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      return error.problems.map(line => line.replace(`${file}: `, ''))
    }
    return []
  }

  it('has a default for everything', () => {
    const { config, notices } = loadConfig(undefined, {})
    assert.deepEqual(config, {
      collector_host: '127.0.0.1',
      collector_port: [2100, 1463],
      collectorPortGiven: false,
      scribe: { category: 'Milo-Trace', zipkin_category: 'zipkin' },
      fb303: { allow_shutdown: false },
      http: {
        host: '127.0.0.1',
        port: 2180,
        allowed_hosts: [],
        trusted_proxies: [],
        base_path: '',
        users: [],
        tokens: [],
        max_body_bytes: 16 * 1024 * 1024,
      },
      store: 'embedded',
      embedded: { path: './milo.db' },
      cassandra: {
        hostname: ['127.0.0.1'],
        port: 9042,
        local_dc: 'datacenter1',
        keyspace: 'milo',
        consistency: 'LOCAL_QUORUM',
      },
      mysql: { hostname: '127.0.0.1', port: 3306, database: 'milo', username: 'milo', password: '' },
      relay: { path: './milo-relay.db', max_bytes: 1024 * 1024 * 1024, upstreams: [], base64: false },
      retention_days: 7,
      activity_days: 400,
      analysis_days: 400,
      index: { deny: DEFAULT_DENY, value_length: 256 },
      max_frame_bytes: 16 * 1024 * 1024,
      max_in_flight_bytes: 64 * 1024 * 1024,
      max_backlog_spans: 500_000,
      max_backlog_bytes: 256 * 1024 * 1024,
      max_trace_bytes: 64 * 1024 * 1024,
      max_read_bytes: 256 * 1024 * 1024,
      max_service_series: 10_000,
      max_connections: 4096,
      idle_timeout_ms: 600_000,
      log_level: 'info',
    })
    assert.deepEqual(notices, [])
    assert.deepEqual(load(''), config)
    assert.deepEqual(load('# nothing\nhttp:\nmysql: { password: }\ncollector_port:\n'), config)
  })

  it('takes every key from a file', () => {
    const text = `
collector_host: 0.0.0.0
collector_port: 2101
collector_id: front-1
http:
  host: "::1"
  port: 2181
  allowed_hosts: [milo.example]
  trusted_proxies: [10.0.0.0/8, "::1"]
  base_path: /tools/milo/
  tls: { cert: /etc/milo/http.pem, key: /etc/milo/http.key }
  users: ["${USER}"]
  tokens: ["${TOKEN}"]
  rate_limit: 100
  max_body_bytes: 2048
scribe: { category: Spans, zipkin_category: "", tls: { cert: a.pem, key: a.key, ca: ca.pem } }
fb303: { allow_shutdown: true }
store: cassandra-mysql
embedded: { path: /var/lib/milo/milo.db }
cassandra:
  hostname: cassandra.example
  port: 9043
  local_dc: dc2
  keyspace: Milo
  username: u
  password: p
  consistency: QUORUM
  tls: { ca: ca.pem }
mysql: { hostname: mysql.example, port: 3307, database: milo_2, username: u, password: "0123", tls: {} }
relay: { path: spool.db, max_bytes: 1048576, upstreams: "a.example:2100, [::1]:1463", base64: true, tls: {} }
retention_days: 30
activity_days: 800
analysis_days: 90
index: { allow: [user, "http.url"], deny: secret, value_length: 64 }
max_frame_bytes: 1048576
max_in_flight_bytes: 8388608
max_backlog_spans: 1000
max_backlog_bytes: 1048576
max_trace_bytes: 4096
max_read_bytes: 2097152
max_service_series: 500
max_connections: 10
idle_timeout_ms: 1000
log_link: "https://logs.example/?q={traceId}&span={spanId}&app={service}&from={from}&to={toMs}"
log_level: debug`
    assert.deepEqual(load(text), {
      collector_host: '0.0.0.0',
      collector_port: [2101],
      collectorPortGiven: true,
      collector_id: 'front-1',
      scribe: { category: 'Spans', zipkin_category: '', tls: { cert: 'a.pem', key: 'a.key', ca: 'ca.pem' } },
      fb303: { allow_shutdown: true },
      http: {
        host: '::1',
        port: 2181,
        allowed_hosts: ['milo.example'],
        trusted_proxies: ['10.0.0.0/8', '::1'],
        base_path: '/tools/milo',
        tls: { cert: '/etc/milo/http.pem', key: '/etc/milo/http.key' },
        users: [USER],
        tokens: [TOKEN],
        rate_limit: 100,
        max_body_bytes: 2048,
      },
      store: 'cassandra-mysql',
      embedded: { path: '/var/lib/milo/milo.db' },
      cassandra: {
        hostname: ['cassandra.example'],
        port: 9043,
        local_dc: 'dc2',
        keyspace: 'Milo',
        username: 'u',
        password: 'p',
        consistency: 'QUORUM',
        tls: { ca: 'ca.pem' },
      },
      mysql: { hostname: 'mysql.example', port: 3307, database: 'milo_2', username: 'u', password: '0123', tls: {} },
      relay: {
        path: 'spool.db',
        max_bytes: 1_048_576,
        upstreams: [
          { host: 'a.example', port: 2100 },
          { host: '::1', port: 1463 },
        ],
        base64: true,
        tls: {},
      },
      retention_days: 30,
      activity_days: 800,
      analysis_days: 90,
      index: { allow: ['user', 'http.url'], deny: ['secret'], value_length: 64 },
      max_frame_bytes: 1048576,
      max_in_flight_bytes: 8388608,
      max_backlog_spans: 1000,
      max_backlog_bytes: 1048576,
      max_trace_bytes: 4096,
      max_read_bytes: 2097152,
      max_service_series: 500,
      max_connections: 10,
      idle_timeout_ms: 1000,
      log_link: 'https://logs.example/?q={traceId}&span={spanId}&app={service}&from={from}&to={toMs}',
      log_level: 'debug',
    })
    assert.deepEqual(load('collector_port: [2100, 1463]').collector_port, [2100, 1463])
    assert.equal(load('collector_port: [2100, 1463]').collectorPortGiven, true)
  })

  it('takes every key from the environment, above the file', () => {
    const { config } = loadConfig(yaml('http: { host: "::1", port: 1 }\nmysql: { password: file }'), {
      MILO_COLLECTOR_HOST: 'localhost',
      MILO_COLLECTOR_PORT: '2100, 1463',
      MILO_COLLECTOR_HTTP_PORT: '0',
      MILO_COLLECTOR_HTTP_ALLOWED_HOSTS: 'a.example,b.example',
      MILO_COLLECTOR_HTTP_TLS_CERT: 'a.pem',
      MILO_COLLECTOR_HTTP_TLS_KEY: 'a.key',
      MILO_COLLECTOR_HTTP_USERS: `${USER},${USER}`,
      MILO_COLLECTOR_FB303_ALLOW_SHUTDOWN: 'true',
      MILO_COLLECTOR_INDEX_ALLOW: 'user,city',
      MILO_COLLECTOR_INDEX_VALUE_LENGTH: '10',
      MILO_COLLECTOR_STORE: 'cassandra-mysql',
      MILO_COLLECTOR_EMBEDDED_PATH: '/tmp/milo.db',
      MILO_COLLECTOR_CASSANDRA_HOSTNAME: 'a.example, b.example',
      MILO_COLLECTOR_CASSANDRA_LOCAL_DC: 'dc3',
      MILO_COLLECTOR_CASSANDRA_KEYSPACE: '',
      MILO_COLLECTOR_MYSQL_PASSWORD: '12345',
      MILO_COLLECTOR_MAX_FRAME_BYTES: '4096',
      MILO_ENABLED: '0',
      HOME: '/root',
    })
    assert.equal(config.collector_host, 'localhost')
    assert.deepEqual(config.collector_port, [2100, 1463])
    const { host, port, allowed_hosts, tls, users } = config.http
    assert.deepEqual([host, port, allowed_hosts], ['::1', 0, ['a.example', 'b.example']])
    assert.deepEqual([tls, users], [{ cert: 'a.pem', key: 'a.key' }, [USER, USER]])
    assert.equal(config.fb303.allow_shutdown, true)
    assert.deepEqual(config.index, { allow: ['user', 'city'], deny: DEFAULT_DENY, value_length: 10 })
    assert.equal(config.store, 'cassandra-mysql')
    assert.equal(config.embedded.path, '/tmp/milo.db')
    assert.deepEqual(config.cassandra.hostname, ['a.example', 'b.example'])
    assert.equal(config.cassandra.local_dc, 'dc3')
    assert.equal(config.cassandra.keyspace, 'milo')
    assert.equal(config.mysql.password, '12345')
    assert.equal(config.max_frame_bytes, 4096)
    const long = loadConfig(undefined, { MILO_COLLECTOR_COLLECTOR_PORT: '7', MILO_COLLECTOR_COLLECTOR_HOST: '::' })
    assert.deepEqual(long.config.collector_port, [7])
    assert.equal(long.config.collector_host, '::')
  })

  it('takes the words for a flag that the SDK takes, in variables and in the file', () => {
    const read = (word: string) => loadConfig(undefined, { MILO_COLLECTOR_RELAY_BASE64: word }).config.relay.base64
    assert.deepEqual(['true', '1', 'yes', 'ON'].map(read), [true, true, true, true])
    assert.deepEqual(['false', '0', 'No', 'off'].map(read), [false, false, false, false])
    assert.equal(loadConfig(yaml('relay: { base64: yes }'), {}).config.relay.base64, true)
    assert.throws(() => read('perhaps'), /MILO_COLLECTOR_RELAY_BASE64: "perhaps" is not a boolean: give true or false/)
  })

  it("accepts the original's keys that mean nothing now, with a notice each", () => {
    const { config, notices } = loadConfig(
      yaml(`
collector_port: 2100
collector_min_workers: 64
scribe: { hostname: localhost, port: 1463, category: Milo-Trace }
cassandra: { hostname: localhost, port: 9042, keyspace: Milo, column_family: Traces }`),
      {},
    )
    assert.equal(config.scribe.category, 'Milo-Trace')
    assert.deepEqual(
      notices.map(notice => /: ([\w.]+) has no effect: .*; remove it$/.exec(notice)?.[1]),
      ['collector_min_workers', 'scribe.hostname', 'scribe.port', 'cassandra.column_family'],
    )
  })

  const errors: [string, string, string][] = [
    [
      "the original's Thrift port of Cassandra",
      'cassandra: { port: 9160 }',
      "cassandra.port: 9160 is Cassandra's old Thrift port: give the port of its native protocol, by default 9042",
    ],
    ['a mistyped key', 'colector_port: 2100', 'colector_port: no such key (value 2100); did you mean collector_port?'],
    [
      'a mistyped key in a section',
      'cassandra: { hostnam: x }',
      'cassandra.hostnam: no such key (value "x"); did you mean cassandra.hostname?',
    ],
    ['a mistyped section', 'htpp: { port: 1 }', 'htpp: no such key (value {…}); did you mean http?'],
    ['a key outside of its section', 'path: x', 'path: no such key (value "x"); did you mean embedded.path?'],
    [
      'a key like no other',
      'mysql: { flavour: sweet }',
      'mysql.flavour: no such key (value "sweet"); remove it, or use one of mysql.hostname, mysql.port, mysql.database, mysql.username, mysql.password, mysql.tls',
    ],
    [
      'a port that is none',
      'collector_port: abc',
      'collector_port: "abc" is not a port (0 takes a free one): give a whole number from 0 to 65535',
    ],
    [
      'a port in a list that is too large',
      'collector_port: [2100, 70000]',
      'collector_port: 70000 is not a port (0 takes a free one): give a whole number from 0 to 65535',
    ],
    [
      'a port twice',
      'collector_port: [2100, 2100]',
      'collector_port: [2100,2100] has a port twice: give each port once',
    ],
    ['no port', 'collector_port: []', 'collector_port: [] has no port: give a port, or a list of ports'],
    [
      'a negative port',
      'http: { port: -1 }',
      'http.port: -1 is not a port (0 takes a free one): give a whole number from 0 to 65535',
    ],
    ['half a port', 'mysql: { port: 33.5 }', 'mysql.port: 33.5 is not a port: give a whole number from 1 to 65535'],
    [
      'a host with a port',
      'cassandra: { hostname: "a:9042" }',
      'cassandra.hostname: "a:9042" is not a host: give a name or an address alone, without port or brackets',
    ],
    ...[
      'javascript:alert({traceId})',
      'logs.example/{traceId}',
      'https://{service}/{traceId}',
      'https://logs.{service}.example/',
      'https://logs.example/{traceId} or so',
      'https://lo%gs/{traceId}',
      '17',
    ].map((link): [string, string, string] => [
      `a link to logs that is none: ${link}`,
      `log_link: "${link}"`,
      `log_link: ${JSON.stringify(link)} is not a link: give an http or https address such as https://logs.example/search?q={traceId}, with any of {traceId} {spanId} {service} {from} {to} {fromMs} {toMs} after the host`,
    ]),
    [
      'a link to logs with an unknown name',
      'log_link: "https://logs.example/{trace}"',
      'log_link: "https://logs.example/{trace}" has an unknown name in braces: give an http or https address such as https://logs.example/search?q={traceId}, with any of {traceId} {spanId} {service} {from} {to} {fromMs} {toMs} after the host',
    ],
    ['another store', 'store: sqlite', 'store: "sqlite" is not a store: give embedded, cassandra-mysql or scribe'],
    ['a value for a section', 'http: 2180', 'http: 2180 is not a section: give keys and values below it'],
    [
      'a keyspace that would be CQL',
      'cassandra: { keyspace: "milo; DROP" }',
      'cassandra.keyspace: "milo; DROP" is not a keyspace: give a letter, then letters, digits and _, at most 48 in all',
    ],
    ['an empty path', 'embedded: { path: "" }', 'embedded.path: "" is empty: give a path'],
    [
      'a bound below the frame size',
      'max_in_flight_bytes: 1048576',
      'max_in_flight_bytes: 1048576 is less than max_frame_bytes: give at least 16777216',
    ],
    [
      'a certificate without its key',
      'http: { tls: { cert: a.pem } }',
      'http.tls: {…} is incomplete: give both cert and key',
    ],
    [
      'a mistyped key deep down',
      'http: { tls: { crt: a.pem } }',
      'http.tls.crt: no such key (value "a.pem"); did you mean http.tls.cert?',
    ],
    [
      'a consistency that does not exist',
      'cassandra: { consistency: SOME }',
      'cassandra.consistency: "SOME" is not a consistency: give one of LOCAL_QUORUM, QUORUM, EACH_QUORUM, LOCAL_ONE, ONE, TWO, THREE, ALL',
    ],
    [
      'a password in the place of its hash, which it does not show',
      'http: { users: ["anna:hunter2"] }',
      "http.users: (hidden) is not a user: give a line that 'milo-collector hash-password NAME' prints",
    ],
    [
      'a token in the place of its hash, which it does not show',
      'http: { tokens: ["milo_0123456789"] }',
      "http.tokens: (hidden) is not a token: give a line that 'milo-collector token NAME' prints",
    ],
    [
      'the API on another address than loopback without anybody to ask for a password',
      'http: { host: 0.0.0.0 }',
      "http.host: \"0.0.0.0\" lets other machines read every trace: set http.users ('milo-collector hash-password') or http.tokens ('milo-collector token'), or set http.auth to none",
    ],
    [
      'the API on a name that only begins as an address of loopback',
      'http: { host: 127.evil.example }',
      "http.host: \"127.evil.example\" lets other machines read every trace: set http.users ('milo-collector hash-password') or http.tokens ('milo-collector token'), or set http.auth to none",
    ],
    [
      'a proxy by its name',
      'http: { trusted_proxies: [nginx] }',
      'http.trusted_proxies: "nginx" is not a network: give an address, or a network such as 10.0.0.0/8',
    ],
    ...['milo', '//evil.example', '/a b', '/../x', 'https://x.example/milo'].map((path): [string, string, string] => [
      `${path} as a base path`,
      `http: { base_path: "${path}" }`,
      `http.base_path: "${path}" is not a path: give a path such as /milo, with letters, digits, . _ ~ and - only`,
    ]),
    ...['/api/milo', '/errors', '/upload', '/jaeger', '/zipkin'].map((path): [string, string, string] => [
      `${path}, which is the collector's own, as a base path`,
      `http: { base_path: ${path} }`,
      `http.base_path: "${path}" begins with a path that the collector itself uses: give another path, such as /milo`,
    ]),
    [
      'users whom nobody would ask for a password',
      `http: { auth: none, tokens: ["${TOKEN}"] }`,
      'http.auth: "none" contradicts http.users and http.tokens: remove http.auth, or both of them',
    ],
    ['a list for a file', '[1, 2]', 'has no keys: give lines of the form key: value'],
    ['a key twice', 'store: embedded\nstore: embedded', 'line 2, column 1 is not YAML: duplicate key'],
  ]
  for (const [what, text, line] of errors) {
    it(`refuses ${what} in one line with key, value and remedy`, () => {
      assert.deepEqual(problems(text), [line])
    })
  }

  it('names every problem at once', () => {
    assert.equal(problems('store: x\nhttp: { port: x, prt: 1 }\nfoo: 1').length, 4)
  })

  it('names the variable when the value came from the environment', () => {
    assert.deepEqual(problems('', { MILO_COLLECTOR_HTTP_PORT: 'x' }), [
      'MILO_COLLECTOR_HTTP_PORT: "x" is not a port (0 takes a free one): give a whole number from 0 to 65535',
    ])
    assert.deepEqual(problems('', { MILO_COLLECTOR_HTP_PORT: '1' }), [
      'MILO_COLLECTOR_HTP_PORT: no such variable (value "1"); did you mean MILO_COLLECTOR_HTTP_PORT?',
    ])
    assert.deepEqual(problems('', { MILO_COLLECTOR_PORT: '1', MILO_COLLECTOR_COLLECTOR_PORT: '2' }), [
      'MILO_COLLECTOR_COLLECTOR_PORT: "2" sets the same key as MILO_COLLECTOR_PORT: unset one of them',
    ])
  })

  it('never shows a secret, under whatever key or in whatever line it stands', () => {
    const secret = 'hunter2'
    const texts = [
      `mysql: { pasword: ${secret} }`,
      `cassandra: { pwd: ${secret} }`,
      `mysql: { password: [${secret}] }`,
      `mysql:\n  password: *${secret}\n`,
      `mysql:\n  password: @${secret}\n`,
      `mysql:\n  password: "${secret}\n`,
      `password: ${secret}`,
    ]
    for (const text of texts) {
      const lines = problems(text)
      assert.ok(lines.length > 0, text)
      assert.doesNotMatch(lines.join('\n'), new RegExp(secret))
    }
    const env = problems('', { MILO_COLLECTOR_MYSQL_PASSWROD: secret, MILO_COLLECTOR_DB_PASSWORD: secret })
    assert.equal(env.length, 2)
    assert.doesNotMatch(env.join('\n'), new RegExp(secret))
  })

  it('accepts another address than loopback with users, with tokens, or with http.auth: none', () => {
    for (const who of [`users: ["${USER}"]`, `tokens: ["${TOKEN}"]`, 'auth: none']) {
      assert.equal(load(`http: { host: 0.0.0.0, ${who} }`).http.host, '0.0.0.0')
    }
    for (const host of ['127.0.0.1', '127.1.2.3', '::1', 'localhost', 'LOCALHOST']) {
      assert.equal(load(`http: { host: "${host}" }`).http.host, host)
    }
  })

  it('knows the variables of the examples that deploy it', () => {
    const container = readFileSync(join(ROOT, 'examples/deploy/Containerfile'), 'utf8')
    const variables = [...container.matchAll(/(MILO_COLLECTOR_\w+)=([^\s"]+)/g)].map(([, name, value]) => [
      name!,
      value!,
    ])
    assert.ok(variables.length >= 3)
    const { config } = loadConfig(undefined, { ...Object.fromEntries(variables), MILO_COLLECTOR_HTTP_USERS: USER })
    assert.deepEqual([config.collector_host, config.http.host], ['0.0.0.0', '0.0.0.0'])
  })

  it('says which keys two configurations differ in', () => {
    const [a, b] = [load(''), load('http: { port: 1, tls: { cert: a, key: b } }\nindex: { allow: [x] }')]
    assert.deepEqual(changedKeys(a, b), ['http.port', 'http.tls.cert', 'http.tls.key', 'index.allow'])
    assert.deepEqual(changedKeys(a, load('')), [])
  })

  it('reads any file, or says in lines what is wrong with it', () => {
    const scalar = fc.oneof(fc.string({ unit: 'binary' }), fc.integer(), fc.boolean(), fc.constant(null), fc.double())
    const keys = fc.constantFrom(
      'http',
      'store',
      'tls',
      'users',
      'collector_port',
      'index',
      'cassandra',
      'port',
      '<<',
      'x',
    )
    const { tree } = fc.letrec<{ tree: unknown }>(tie => ({
      tree: fc.oneof(
        { maxDepth: 4 },
        scalar,
        fc.array(tie('tree'), { maxLength: 4 }),
        fc.dictionary(fc.oneof(keys, fc.string()), tie('tree'), { maxKeys: 4, noNullPrototype: true }),
      ),
    }))
    const file = fc.oneof(
      tree.map(value => JSON.stringify(value) ?? ''),
      fc.string({ unit: 'binary', maxLength: 200 }),
      fc.string({ unit: fc.constantFrom(...':-&*![]{}|>#%@`"\'?, \nab1'.split('')), maxLength: 60 }),
    )
    fc.assert(
      fc.property(file, source => {
        for (const line of problems(source)) assert.ok(line.length > 10 && line.length < 1000, line)
      }),
      { numRuns: 200 },
    )
  })

  it('is not brought down by aliases that multiply, nor by depth', () => {
    const levels = Array.from({ length: 12 }, (_, i) => `a${i + 1}: &a${i + 1} [${Array(9).fill(`*a${i}`).join(',')}]`)
    assert.ok(problems(`a0: &a0 [x]\n${levels.join('\n')}`).length > 0)
    const indented = Array.from({ length: 1000 }, (_, i) => `${' '.repeat(i)}a:`).join('\n')
    for (const levels of [
      '['.repeat(20_000),
      `http: ${'{a: '.repeat(5_000)}`,
      ...['- ', '? '].map(s => s.repeat(5_000)),
      indented,
    ]) {
      assert.deepEqual(problems(levels), ['is nested deeper than 20 levels: no key needs more than three'])
    }
    assert.match(problems(`http: {users: ${'['.repeat(15)}${']'.repeat(15)}}`).join(), /^http\.users: /)
  })

  it('names a file that cannot be read', () => {
    assert.throws(() => loadConfig('/nonexistent/x.yaml', {}), {
      message: "/nonexistent/x.yaml: can't be read (ENOENT): give a file with --config",
    })
  })
})
