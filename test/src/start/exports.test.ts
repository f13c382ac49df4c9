import assert from 'node:assert/strict'
import { MiloError } from '../../../src'
import type { HttpTarget } from '../../../src/export/http/target'
import { type ExportTo, exportTargets } from '../../../src/start/exports'

const http = (value: string | (string | ExportTo)[], headers?: string) => exportTargets(value, headers) as HttpTarget[]

describe('the setting export', () => {
  it('finds host, port, path and name of each exporter', () => {
    const told = (value: string) =>
      http(value).map(({ name, address, path, authority }) => [
        name,
        `${address?.host} ${address?.port}`,
        authority,
        path,
      ])
    assert.deepEqual(told('otlp, zipkin'), [
      ['otlp', '127.0.0.1 4318', '127.0.0.1:4318', '/v1/traces'],
      ['zipkin', '127.0.0.1 9411', '127.0.0.1:9411', '/api/v2/spans'],
    ])
    assert.deepEqual(told('otlp:https://otlp.example/gateway/,otlp:http://[::1]:4318/v1/traces/?tenant=a%20b'), [
      ['otlp', 'otlp.example 443', 'otlp.example', '/gateway/v1/traces'],
      ['otlp-2', '::1 4318', '[::1]:4318', '/v1/traces?tenant=a%20b'],
    ])
    assert.deepEqual(told('zipkin:http://z.example/trace/v1'), [['zipkin', 'z.example 80', 'z.example', '/trace/v1']])
    assert.deepEqual(exportTargets('scribe', undefined), [{ kind: 'scribe', name: 'scribe' }])
  })

  it('gives a header to the one exporter over HTTP, or to the one it names', () => {
    const headers = (value: string | (string | ExportTo)[], text: string) => http(value, text).map(to => to.headers)
    assert.deepEqual(headers('scribe,otlp', 'a=1, b-c = x%3Dy=z ,,A=2'), [
      undefined,
      [
        ['b-c', 'x=y=z'],
        ['A', '2'],
      ],
    ])
    assert.deepEqual(headers('otlp,zipkin', 'zipkin:a=1,otlp:b=2'), [[['b', '2']], [['a', '1']]])
    assert.deepEqual(headers(['otlp', { to: 'zipkin', headers: { c: '3' } }], 'a=1'), [[['a', '1']], [['c', '3']]])
    assert.deepEqual(headers('scribe', 'a=1'), [undefined])
  })

  const bad: [unknown, string | undefined, RegExp][] = [
    [5, undefined, /must be 'scribe'.*got 5/],
    ['', undefined, /got ''/],
    ['scribe,', undefined, /got ''/],
    ['jaeger', undefined, /must be 'scribe', 'otlp:http:\/\/host:4318'.*got 'jaeger'/],
    ['scribe:host:1463', undefined, /MILO_SCRIBE has its address/],
    ['otlp:host:4318', undefined, /http:\/\/ or https:\/\/.*got 'otlp:host:4318'/],
    ['otlp:grpc://host:4317', undefined, /http:\/\/ or https:\/\//],
    ['otlp:http://user:secret@', undefined, /got 'otlp:http:\/\/…@'/],
    ['oltp:http://user:se/secret@host?key=secret', undefined, /got 'oltp:http:\/\/…@host\?…'/],
    ['otlp:http://user:secret%zz@h', undefined, /percent-encoded credentials for 'http:\/\/h'/],
    ['otlp,otlp', undefined, /'otlp' twice/],
    ['otlp:http://h:4318,otlp:http://h:4318/', undefined, /twice/],
    [[{}], undefined, /a list of these and of \{ to, headers, tls \}; got an object/],
    [[{ to: 'otlp', token: 'secret' }], undefined, /to, headers and tls, got token/],
    [[{ to: 'scribe', headers: {} }], undefined, /scribeTls/],
    [[{ to: 'otlp', tls: {} }], undefined, /isn't https/],
    [[{ to: 'otlp:https://h', tls: { cert: 'secret', key: 'secret' } }], undefined, /as PEM/],
    [[{ to: 'otlp:https://h', tls: { cert: 'secret' } }], undefined, /both cert and key/],
    [[{ to: 'otlp', headers: [] }], undefined, /an object of names and values/],
    [[{ to: 'otlp', headers: { 'a b': 'secret' } }], undefined, /name that HTTP allows, got 'a b'/],
    [[{ to: 'otlp', headers: { 'x\r\ny': 'secret' } }], undefined, /name that HTTP allows/],
    [[{ to: 'otlp', headers: { a: 'secret\r\nx: y' } }], undefined, /'a'.*printable/],
    [[{ to: 'otlp', headers: { a: 5 } }], undefined, /'a'.*printable/],
    [[{ to: 'otlp', headers: { 'Content-Length': '5' } }], undefined, /can't be set/],
    ['otlp', 'secret', /one of them has no =/],
    ['otlp', 'a=secret%zz', /percent-encoded values; that of 'a'/],
    ['otlp', 'a=%0d%0asecret', /'a'.*printable/],
    ['otlp', 'oltp:a=secret', /exporter 'oltp' for the header 'a'; there is otlp/],
    ['otlp,zipkin', 'a=secret', /which exporter gets 'a', as in otlp:a=…: there are otlp, zipkin/],
  ]
  for (const [value, headers, message] of bad) {
    it(`refuses ${JSON.stringify(value)}${headers === undefined ? '' : ` with ${headers}`}, and shows no secret`, () => {
      assert.throws(
        () => exportTargets(value, headers),
        (error: Error) => {
          assert.ok(error instanceof MiloError && error.code === 'MILO_BAD_EXPORT')
          assert.match(error.message, message)
          assert.doesNotMatch(error.message, /secret/)
          return true
        },
      )
    })
  }
})
