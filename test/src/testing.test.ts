import assert from 'node:assert/strict'
import { count, flush, init, record, shutdown, span, stats } from '../../src/index'
import { frameWith, Kind, runInFrame, startServerSpan, startSpan } from '../../src/plugin'
import { assertTree, ended, start, stop, tree } from '../../src/testing'
import { ScribePeer } from '../helpers/scribe-peer'

describe('milo/testing', () => {
  afterEach(() => stop())

  it('collects the spans that end, as plain values', () => {
    const spans = start()
    span('outer', outer => {
      span('inner', s => s.annotate('user', 'ann').count('rows', 3).record('hit'))
      assert.equal(spans.length, 1)
      assert.equal(spans[0]!.parentId, outer.spanId)
    })
    const [inner, outer] = spans
    assert.deepEqual(
      { ...inner, startUs: 0, endUs: 0 },
      {
        name: 'inner',
        kind: 'local',
        traceId: outer!.traceId,
        spanId: inner!.spanId,
        parentId: outer!.spanId,
        startUs: 0,
        endUs: 0,
        annotations: { user: 'ann' },
        counters: { rows: 3 },
        events: [{ timeUs: inner!.events[0]!.timeUs, value: 'hit' }],
      },
    )
    assert.ok(outer!.startUs <= inner!.startUs && inner!.endUs <= outer!.endUs)
  })

  it('shows them as a tree, siblings in order of their start', async () => {
    start()
    await span('checkout', async s => {
      s.annotate('user', 'ann')
      const slow = span('slow', () => new Promise(resolve => setTimeout(resolve, 5)))
      span('cart.load', () => {
        count('rows', 3)
        record('cache miss')
        span('parse', p => p.fail(new Error('Out of stock')).annotate('a=b', ''))
      })
      await slow
    })
    span('another', () => {})
    assert.equal(
      tree(),
      `checkout user=ann
  slow
  cart.load rows+=3 [cache miss]
    parse error.type=Error error.message="Out of stock" "a=b"=""
another`,
    )
    assertTree('checkout user=ann\n  slow\n  cart.load rows+=3 [cache miss]\n    parse\nanother', {
      annotations: ['user'],
    })
    assertTree(
      `
        checkout
          slow
          cart.load rows+=3 [cache miss]
            parse
        another
      `,
      { annotations: [] },
    )
    assert.throws(() => assertTree('checkout'), { code: 'ERR_ASSERTION' })
  })

  it('puts the server’s half of a call below the client’s, with one id or two, and its work below it', () => {
    start()
    span('front', () => {
      for (const sharesSpan of [true, false]) {
        const client = startSpan(Kind.CLIENT, 'Pricing.quote')
        const { trace, idHi: spanHi, idLo: spanLo, parentHi, parentLo } = client
        const { hi, lo, highHi, highLo, debug, probability, state, isRandom } = trace
        const ids = { hi, lo, highHi, highLo, spanHi, spanLo, parentHi, parentLo }
        const remote = {
          ...ids,
          hasIds: true,
          undecided: false,
          sampled: true,
          recorded: false,
          debug,
          probability,
          state,
          isRandom,
          sharesSpan,
        }
        const server = startServerSpan('Pricing.quote', remote)
        runInFrame(frameWith(server), () => span('compute', () => {}))
        server.end()
        client.end()
      }
    })
    assertTree(`
      front
        Pricing.quote (client)
          Pricing.quote (server)
            compute
        Pricing.quote (client)
          Pricing.quote (server)
            compute
    `)
  })

  it('stands a span whose parent hasn’t ended at the left, and copes with a deep chain', () => {
    const spans = start()
    const nest = (depth: number): void => span('s', () => (depth > 1 ? nest(depth - 1) : undefined))
    span('running', () => {
      span('child', () => {})
      assert.equal(tree(), 'child')
      spans.length = 0
      nest(500)
    })
    assert.equal(tree().split('\n').at(-1), `${'  '.repeat(500)}s`)
  })

  it('waits for spans that end later, and says which have when they don’t', async () => {
    const spans = start()
    setTimeout(() => span('late', () => {}), 2)
    assert.equal(await ended(1), spans)
    assert.equal(spans.length, 1)
    setTimeout(() => span('later', () => {}), 2)
    assert.equal(await ended(2, Number.POSITIVE_INFINITY), spans)
    spans.length = 1
    await assert.rejects(ended(2, 5), /1 of 2 spans have ended within 5 ms:\nlate/)
  })

  it('keeps what the sampler keeps, begins afresh at each start, and records nothing once stopped', () => {
    const before = start({ sampler: 'never' })
    assert.equal(
      span('x', s => s.sampled),
      false,
    )
    const after = start()
    span('y', () => {})
    stop()
    span('z', () => {})
    assert.deepEqual([before.length, after.map(s => s.name), tree()], [0, ['y'], 'y'])
  })

  it('leaves Milo as it was before: what waits is sent, and what ends later, whatever a test has started', async () => {
    const peer = await ScribePeer.listen()
    try {
      const settings = { scribe: peer.address, sampler: 'always', logLevel: 'error' } as const
      init(settings)
      span('before', () => {})
      start({ logLevel: 'silent' })
      span('within', () => {})
      const spans = start()
      span('again', () => {})
      assert.equal(stats().buffered, 1)
      stop()
      span('after', () => {})
      stop()
      span('still', () => {})
      start()
      await shutdown()
      stop()
      span('restarted', () => {})
      start()
      init({ ...settings, sampler: 'never' })
      span('never', () => {})
      stop()
      span('last', () => {})
      assert.equal(await flush(), true)
      assert.deepEqual(
        [spans.map(s => s.name), peer.spans.map(({ name }) => name)],
        [['again'], ['before', 'after', 'still', 'restarted', 'last']],
      )
    } finally {
      await shutdown(0)
      await peer.close()
    }
  })

  it('needs neither Scribe nor the environment', () => {
    process.env.MILO_ENABLED = '0'
    try {
      start()
      span('x', () => {})
      assert.equal(tree(), 'x')
      const { sent, buffered, dropped } = stats()
      assert.deepEqual([sent, buffered, dropped], [0, 0, 0])
    } finally {
      delete process.env.MILO_ENABLED
    }
  })

  it('refuses what init refuses', () => {
    assert.throws(() => start({ nonsense: 1 } as object), { code: 'MILO_BAD_OPTION' })
  })
})
