import assert from 'node:assert/strict'
import { type Options, readSettings } from '../../../src/start/options'
import { AdaptiveSampler } from '../../../src/trace/adaptive'
import { HTTP_FORMATS } from '../../../src/trace/propagation'

const settings = (options: Options = {}, env: Record<string, string> = {}) => readSettings(options, env)

describe('options', () => {
  it('has the defaults of the documentation', () => {
    const s = settings()
    assert.equal(s.enabled, true)
    assert.deepEqual(s.scribe, [{ host: '127.0.0.1', port: 1463 }])
    assert.ok(s.sampler instanceof AdaptiveSampler)
    assert.equal(s.tracesPerSecond, 10)
    assert.deepEqual(s.propagation, { default: 'field', peers: new Map() })
    assert.equal(s.logLevel, 'warn')
  })

  it('takes each setting from the environment, and an option before its variable', () => {
    const env = {
      MILO_SERVICE: 'shop',
      MILO_SCRIBE: 'a:1, [::1]:2',
      MILO_SCRIBE_ENCODING: 'base64',
      MILO_SPOOL: '/var/spool/milo',
      MILO_SPOOL_MAX_BYTES: '2000000',
      MILO_SAMPLER: 'never',
      MILO_TRACES_PER_SECOND: '2.5',
      MILO_PROPAGATION: 'off,10.0.0.1:9090=calltrace',
      MILO_PLUGINS: 'thrift, -http',
      MILO_LOG_LEVEL: 'debug',
    }
    const s = settings({}, env)
    assert.equal(s.service, 'shop')
    assert.deepEqual(s.scribe, [
      { host: 'a', port: 1 },
      { host: '::1', port: 2 },
    ])
    assert.equal(s.scribeEncoding, 'base64')
    assert.deepEqual(s.spool, { directory: '/var/spool/milo', maxBytes: 2_000_000 })
    assert.equal(s.sampler.sample('any', 0.999), -1)
    assert.equal(s.tracesPerSecond, 2.5)
    assert.deepEqual(s.propagation, { default: 'off', peers: new Map([['10.0.0.1:9090', 'calltrace']]) })
    assert.deepEqual(s.pluginNames, ['thrift', '-http'])
    assert.equal(s.logLevel, 'debug')
    assert.equal(settings({ service: 'mine' }, env).service, 'mine')
  })

  it('takes for Thrift and for HTTP what an entry of the propagation is for, and off for what nothing else names', () => {
    const of = (propagation: string) => {
      const s = settings({ propagation })
      const peers = [...new Set([...s.propagation.peers.keys(), ...s.http.formats.peers.keys()])]
      const both = (peer: string) => [s.propagation.peers.get(peer), s.http.formats.peers.get(peer)]
      return [[s.propagation.default, s.http.formats.default], ...peers.map(peer => [peer, ...both(peer)])]
    }
    const { w3c, b3, b3multi } = HTTP_FORMATS
    assert.deepEqual(of('field'), [['field', w3c]])
    assert.deepEqual(of('b3'), [['field', b3]])
    assert.deepEqual(of('compat, b3+w3c'), [['compat', b3 | w3c]])
    assert.deepEqual(of('off'), [['off', 0]])
    assert.deepEqual(of('w3c,off'), [['off', w3c]])
    assert.deepEqual(of('off,field'), [['field', 0]])
    assert.deepEqual(of('Shop:80=b3multi,*.example.com=off,[::1]:9090=calltrace'), [
      ['field', w3c],
      ['*.example.com', 'off', 0],
      ['::1:9090', 'calltrace', undefined],
      ['shop:80', undefined, b3multi],
    ])
  })

  it('lets MILO_ENABLED=0 have the last word', () => {
    assert.equal(settings({ enabled: true }, { MILO_ENABLED: '0' }).enabled, false)
    assert.equal(settings({ enabled: false }, { MILO_ENABLED: '1' }).enabled, false)
  })

  for (const [word, expected] of [
    ...['1', 'true', 'yes', 'on', 'On', 'YES', 'True'].map(word => [word, true] as const),
    ...['0', 'false', 'no', 'off', 'Off', 'NO', 'FALSE'].map(word => [word, false] as const),
  ]) {
    it(`takes ${word} as ${expected} in each variable that is a flag`, () => {
      const s = settings({}, { MILO_ENABLED: word, MILO_LOG_CORRELATION: word, MILO_CLS_HOOKED: word })
      assert.deepEqual([s.enabled, s.logCorrelation, s.clsHooked], [expected, expected, expected])
    })
  }

  const bad: [string, Options, Record<string, string>, RegExp][] = [
    [
      'MILO_BAD_TARGET',
      { tracesPerSecond: -1 },
      {},
      /tracesPerSecond must be > 0, got -1; to turn tracing off set MILO_ENABLED=0/,
    ],
    ['MILO_BAD_TARGET', {}, { MILO_TRACES_PER_SECOND: 'many' }, /> 0, got 'many'; .*, in MILO_TRACES_PER_SECOND$/],
    ['MILO_BAD_TARGET', { tracesPerSecond: Number.POSITIVE_INFINITY }, {}, /got Infinity/],
    ['MILO_BAD_TARGET', { tracesPerSecond: '10' as any }, {}, /got '10'/],
    ['MILO_BAD_TARGET', { tracesPerSecond: 0, sampler: 'always' }, {}, /got 0/],
    ['MILO_BAD_OPERATIONS', { operations: [] as any }, {}, /an object that has \{ probability \} or/],
    ['MILO_BAD_OPERATIONS', { operations: { a: 0.5 as any } }, {}, /either .* or .* for 'a', got 0.5/],
    ['MILO_BAD_OPERATIONS', { operations: { a: null as any } }, {}, /either .* or .* for 'a', got null/],
    ['MILO_BAD_OPERATIONS', { operations: { a: {} as any } }, {}, /either .* or .* for 'a'/],
    ['MILO_BAD_OPERATIONS', { operations: { a: { probability: 1, tracesPerSecond: 1 } } }, {}, /either .* or/],
    ['MILO_BAD_OPERATIONS', { operations: { a: { probability: 1, rate: 1 } as any } }, {}, /either .* or/],
    ['MILO_BAD_OPERATIONS', { operations: { a: { probability: 1.5 } } }, {}, /from 0 to 1 for 'a', got 1.5/],
    ['MILO_BAD_OPERATIONS', { operations: { a: { tracesPerSecond: 0 } } }, {}, /> 0 for 'a', got 0; never is/],
    ['MILO_BAD_SAMPLER', {}, { MILO_SAMPLER: 'clever' }, /must be adaptive, always, never or .*got 'clever'/],
    ['MILO_BAD_SAMPLER', { sampler: 'probability:1.5' }, {}, /probability:P with P from 0 to 1, got 'probability:1.5'/],
    ['MILO_BAD_SAMPLER', { sampler: {} as any }, {}, /got an object/],
    ['MILO_BAD_SCRIBE', {}, { MILO_SCRIBE: 'localhost' }, /host:port with a port from 1 to 65535, got 'localhost'/],
    ['MILO_BAD_SCRIBE', { scribe: 'localhost:99999' }, {}, /got 'localhost:99999'/],
    ['MILO_BAD_SCRIBE', { scribe: 7 as any }, {}, /got 7/],
    ['MILO_BAD_PROPAGATION', {}, { MILO_PROPAGATION: 'telepathy' }, /one of field, .*got 'telepathy'/],
    ['MILO_BAD_PROPAGATION', { propagation: '=calltrace' }, {}, /got '=calltrace'/],
    ['MILO_BAD_PROPAGATION', { propagation: 'b3+field' }, {}, /or for HTTP w3c, b3, b3multi.*got 'b3\+field'/],
    ['MILO_BAD_PROPAGATION', { trustedCallers: '10.0.0.0/33' }, {}, /all, none, or addresses .*got '10.0.0.0\/33'/],
    ['MILO_BAD_PROPAGATION', {}, { MILO_TRUSTED_CALLERS: 'all,10.0.0.1' }, /got 'all'/],
    ['MILO_BAD_PROPAGATION', { baggage: 'tenant,a b' }, {}, /keys separated by commas, or \* for all, got 'a b'/],
    ['MILO_BAD_ENABLED', {}, { MILO_ENABLED: 'perhaps' }, /must be 1 or 0, got 'perhaps'/],
    ['MILO_BAD_OPTION', {}, { MILO_CLS_HOOKED: '2' }, /MILO_CLS_HOOKED must be 1 or 0, got '2'/],
    ['MILO_BAD_OPTION', {}, { MILO_LOG_CORRELATION: 'y' }, /MILO_LOG_CORRELATION must be 1 or 0, got 'y'/],
    ['MILO_BAD_LOG_LEVEL', {}, { MILO_LOG_LEVEL: 'loud' }, /silent, error, warn, info, debug, got 'loud'/],
    ['MILO_BAD_SERVICE', { service: '' }, {}, /1 to 256 characters/],
    ['MILO_BAD_PLUGINS', { plugins: 'thrift' as any }, {}, /list of objects/],
    ['MILO_BAD_LIMIT', { maxBufferedSpans: 0 }, {}, /whole number from 1/],
    ['MILO_BAD_LIMIT', { maxBufferedBytes: 1.5 }, {}, /maxBufferedBytes must be a whole number from 1024/],
    ['MILO_BAD_SCRIBE', {}, { MILO_SCRIBE: 'https://a:1' }, /got 'https:\/\/a:1'; with TLS it is tls:\/\/host:port/],
    ['MILO_BAD_SCRIBE', { scribeTls: { ca: 'no PEM', key: 'secret' } }, {}, /both cert and key, or neither$/],
    ['MILO_BAD_SCRIBE', { scribeTls: { cert: 'no PEM', key: 'secret' } }, {}, /ca, cert and key as PEM: (?!.*secret)/],
    [
      'MILO_BAD_SCRIBE',
      { scribeTls: { verify: false } as any },
      {},
      /has ca, cert, key and rejectUnauthorized, got verify/,
    ],
    ['MILO_BAD_SCRIBE', {}, { MILO_SCRIBE_ENCODING: 'gzip' }, /raw or base64, got 'gzip'/],
    ['MILO_BAD_SPOOL', { spool: '/tmp' as any }, {}, /object of directory and maxBytes, got '\/tmp'/],
    ['MILO_BAD_SPOOL', { spool: { directory: '' } }, {}, /must have a path as directory/],
    [
      'MILO_BAD_SPOOL',
      {},
      { MILO_SPOOL: '/tmp/x', MILO_SPOOL_MAX_BYTES: '64MB' },
      /from 1048576 as maxBytes, got '64MB', in MILO_SPOOL_MAX_BYTES$/,
    ],
    ['MILO_BAD_RETROACTIVE', { retroactive: { bytes: 1000 } }, {}, /from 65536 to 67108864 as bytes, got 1000/],
    ['MILO_BAD_RETROACTIVE', { retroactive: { ring: 1 } as any }, {}, /has bytes, triggers and lateral, got ring/],
    [
      'MILO_BAD_RETROACTIVE',
      { retroactive: true },
      { MILO_RETROACTIVE_TRIGGERS: 'fast' },
      /or none as triggers, got 'fast'/,
    ],
    [
      'MILO_BAD_RETROACTIVE',
      {},
      { MILO_RETROACTIVE: '1', MILO_RETROACTIVE_LATERAL: '-1' },
      /to 100 as lateral, got -1/,
    ],
    ['MILO_BAD_OPTION', { retroactive: 'yes' as any }, {}, /retroactive must be true or false, got 'yes'/],
    ['MILO_BAD_OPTION', 'always' as any, {}, /the options must be an object, got 'always'/],
    ['MILO_BAD_OPTION', null as any, {}, /the options must be an object, got null/],
    ['MILO_BAD_OPTION', { samplr: 'always' } as any, {}, /samplr isn't an option of Milo; there are enabled,/],
  ]
  for (const [code, options, env, message] of bad) {
    it(`refuses ${JSON.stringify(Object.keys(env).length > 0 ? { ...options, ...env } : options)} with ${code}, the value and the remedy`, () => {
      assert.throws(() => settings(options, env), { code, message })
    })
  }
})
