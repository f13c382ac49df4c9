import assert from 'node:assert/strict'
import { addressList, forwardedFor, isLoopback, isNetwork } from '../../../collector/src/auth/addresses'

describe('addresses', () => {
  it('are of this machine by their number, not by how their text begins', () => {
    const loopback = ['127.0.0.1', '127.255.255.254', '::1', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1', '::ffff:7f00:1']
    for (const host of [...loopback, '::1%lo', 'localhost', 'LOCALHOST', 'localhost.']) {
      assert.equal(isLoopback(host), true, host)
    }
    const others = [
      '127.evil.example',
      '127.0.0.1.evil.example',
      'localhost.evil.example',
      'notlocalhost',
      'ip6-localhost',
    ]
    const numbers = ['127.1', '2130706433', '0177.0.0.1', '0x7f.0.0.1', '127.0.0.01', '128.0.0.1', '::2', '']
    for (const host of [...others, ...numbers, '0.0.0.0', '::', '::ffff:10.0.0.1', '::127.0.0.1', 'fe80::1%lo']) {
      assert.equal(isLoopback(host), false, host)
    }
  })

  it('and networks are told from what is neither', () => {
    for (const text of ['10.0.0.0/8', '10.1.2.3', '::1', 'fc00::/7', '0.0.0.0/0', '::/0', '10.0.0.1/32', '::1/128']) {
      assert.ok(isNetwork(text), text)
    }
    for (const text of [
      '',
      'proxy',
      '10.0.0.0/33',
      '::/129',
      '10.0.0.0/',
      '10.0.0.0/8/8',
      '10.0.0/8',
      '1/1',
      'fe80::1%eth0',
      '10.0.0.0/-1',
      '10.0.0.0/1e1',
    ]) {
      assert.ok(!isNetwork(text), text)
    }
    const trusts = addressList(['10.0.0.0/8', '192.0.2.1', 'fc00::/7'])
    for (const address of ['10.9.8.7', '192.0.2.1', '::ffff:10.9.8.7', 'fd00::1', 'fd00::1%eth0']) {
      assert.ok(trusts(address), address)
    }
    for (const address of ['11.0.0.1', '192.0.2.2', '::ffff:11.0.0.1', 'fe80::1', '10.evil.example', 'unknown', '']) {
      assert.ok(!trusts(address), address)
    }
  })

  it("are read from a proxy's headers, however it writes them, back to the first thing that is none", () => {
    for (const [header, expected] of [
      ['192.0.2.1', '192.0.2.1'],
      ['192.0.2.1, 198.51.100.2', '192.0.2.1, 198.51.100.2'],
      [' 192.0.2.1:4711 ,[2001:db8::1]:80', '192.0.2.1, 2001:db8::1'],
      ['[2001:db8::1]', '2001:db8::1'],
      ['unknown, 198.51.100.2', '198.51.100.2'],
      ['192.0.2.1, unknown', undefined],
      ['192.0.2.1,', undefined],
      ['', undefined],
      ["'; DROP TABLE x, 127.evil.example", undefined],
      ['x'.repeat(16_000), undefined],
    ] as const) {
      assert.equal(forwardedFor({ 'x-forwarded-for': header }), expected, header.slice(0, 80))
    }
    for (const [header, expected] of [
      ['for=192.0.2.1', '192.0.2.1'],
      ['for=192.0.2.1;proto=http;by=203.0.113.43, For="[2001:db8:cafe::17]:4711"', '192.0.2.1, 2001:db8:cafe::17'],
      ['for="_hidden, for=9.9.9.9", for=198.51.100.2', '198.51.100.2'],
      ['for=192.0.2.1, proto=https', undefined],
      ['proto=https', undefined],
      [`for=192.0.2.1,${'"\\'.repeat(8000)}`, undefined],
    ] as const) {
      assert.equal(forwardedFor({ forwarded: header }), expected, header.slice(0, 80))
    }
    // One that writes the one passes on what a client says in the other.
    assert.equal(forwardedFor({ 'x-forwarded-for': '192.0.2.1', forwarded: 'for=198.51.100.2' }), '192.0.2.1')
    assert.equal(forwardedFor({ 'x-forwarded-for': 'unknown', forwarded: 'for=198.51.100.2' }), undefined)
    assert.equal(forwardedFor({}), undefined)
  })
})
