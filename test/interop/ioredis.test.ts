import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { ioredis } from '../../plugins/ioredis'
import { current, span } from '../../src/index'
import { install } from '../../src/patch/hook'
import { assertTree, start, stop, type TestSpan } from '../../src/testing'
import { ended } from '../helpers/ended'
import { until } from '../helpers/until'
import { startOwnRedis, startOwnRedisCluster, startRedis } from '../servers'
import { npmPackages } from '../servers/npm'
import { freePort } from '../servers/process'

/** ioredis at the oldest and the newest version, against Redis. */

const SHOWN = { annotations: ['db.operation.batch.size', 'error.type', 'error.message'] }

for (const version of ['4.0.0', '6.0.0']) {
  describe(`ioredis ${version}`, () => {
    let Redis: any
    let redis: any
    let server: { host: string; port: number }
    const prefix = `milo-${version}-`

    before(async () => {
      start({ logLevel: 'error' })
      install([ioredis])
      Redis = createRequire(join(await npmPackages(`ioredis@${version}`), 'app.js'))('ioredis')
      server = await startRedis()
      redis = new Redis(server.port, server.host)
      await once(redis, 'ready')
    })

    beforeEach(() => {
      start()
    })

    afterEach(() => stop())

    after(() => redis?.disconnect())

    async function request(count: number, ask: () => Promise<unknown>): Promise<TestSpan[]> {
      await span('request', ask)
      return ended(count + 1)
    }

    it('has spans with the command’s name and no arguments', async () => {
      const [one] = await request(1, () => redis.set(`${prefix}secret`, 'secret'))
      assert.equal(one!.name, 'SET')
      assert.equal(one!.kind, 'client')
      assert.deepEqual(one!.annotations, {
        'db.system.name': 'redis',
        'db.namespace': '0',
        'db.operation.name': 'SET',
        'server.address': server.host,
        'server.port': String(server.port),
      })
    })

    it('has one for each command, pipeline and transaction, and the asker’s context in callbacks', async () => {
      const wrong: string[] = []
      await request(9, async () => {
        const own = current()
        const look = (how: string) => own === current() || wrong.push(how)
        await new Promise<void>(done =>
          redis.get(`${prefix}a`, () => {
            look('callback')
            done()
          }),
        )
        await redis.pipeline().set(`${prefix}a`, '1').incr(`${prefix}a`).exec()
        look('pipeline')
        await redis.multi().set(`${prefix}b`, '1').get(`${prefix}b`).exec()
        await redis.pipeline().set(`${prefix}c`, 'text').incr(`${prefix}c`).exec()
        await assert.rejects(redis.incr(`${prefix}c`))
        await assert.rejects(redis.call ? redis.call('NONSENSE', 'secret') : redis.eval('return secret +', 0, 'secret'))
        await assert.rejects(redis.eval("return redis.error_reply('DENIED ' .. ARGV[1])", 0, 'secret'), /secret/)
        await redis.rpush(`${prefix}list`, '1')
        await redis.blpop(`${prefix}list`, 1)
        look('blocking')
      })
      assert.deepEqual(wrong, [])
      const nonsense = redis.call
        ? 'NONSENSE (client) error.type=ERR error.message="ERR unknown command \'NONSENSE\', with …"'
        : 'EVAL (client) error.type=ERR'
      assertTree(
        `
        request
          GET (client)
          PIPELINE (client) db.operation.batch.size=2
          MULTI (client) db.operation.batch.size=2
          PIPELINE (client) db.operation.batch.size=2 error.type=ERR error.message="ERR value is not an integer or out of range"
          INCR (client) error.type=ERR error.message="ERR value is not an integer or out of range"
          ${nonsense}
          EVAL (client) error.type=ReplyError
          RPUSH (client)
          BLPOP (client)`,
        SHOWN,
      )
    })

    it('tells why a command can’t be sent', async () => {
      const port = await freePort()
      const down = new Redis(port, '127.0.0.1', { enableOfflineQueue: false, retryStrategy: () => null })
      down.on('error', () => {})
      await request(1, () => assert.rejects(down.get(`${prefix}secret`)))
      const text = "Stream isn't writeable and enableOfflineQueue options is false"
      assertTree(`request\n  GET (client) error.type=Error error.message="${text}"`, SHOWN)
      down.disconnect()
    })

    it('tells what the connection failed with, of a command that was tried often', async () => {
      const port = await freePort()
      const down = new Redis(port, '127.0.0.1', { maxRetriesPerRequest: 1, retryStrategy: () => 1 })
      const told: unknown[][] = []
      down.on('error', (...args: unknown[]) => told.push(args))
      await request(1, () => assert.rejects(down.get(`${prefix}secret`), /^MaxRetriesPerRequestError: .* details\.$/))
      const text = `Reached the max retries per request limit (which is …): connect ECONNREFUSED 127.0.0.1:${port}`
      assertTree(`request\n  GET (client) error.type=MaxRetriesPerRequestError error.message="${text}"`, SHOWN)
      down.disconnect()
      assert.ok(told.length > 0 && told.every(args => args.length === 1))
    })

    it('lets no value out, whatever fails', async () => {
      const secret = 'Xsecret77'
      const spans = start()
      let asked = 0
      const failing = [
        ['incr', secret],
        ['lpush', `${prefix}text`, secret],
        ['setex', `${prefix}a`, secret, secret],
        ['set', `${prefix}a`, secret, secret],
        ['set', `${prefix}a`, secret, 'EX', secret],
        ['geoadd', `${prefix}geo`, '200', '77.77', secret],
        ['zadd', `${prefix}z`, secret, secret],
        ['hincrby', `${prefix}text`, secret, '1'],
        ['config', 'set', secret, secret],
        ['client', secret, secret],
        ['select', secret],
        ['evalsha', secret, '0', secret],
        ['eval', `return ${secret}(`, '0', secret],
        ['eval', `return redis.call('${secret}')`, '0'],
        ['eval', `error('${secret} ' .. ARGV[1])`, '0', secret],
        ['eval', `return redis.error_reply('${secret.toUpperCase()} ' .. ARGV[1])`, '0', secret],
        ['auth', secret],
        ['object', secret, secret],
        ['xadd', `${prefix}x`, secret, 'a', secret],
        ['restore', `${prefix}r`, '0', secret],
      ]
      await redis.set(`${prefix}text`, 'text')
      await redis.set(secret, secret)
      for (const [name, ...args] of failing) {
        asked++
        await span('request', () => redis[name!](...args).catch(() => {}))
      }
      asked++
      const own = `return redis.error_reply('${secret.toUpperCase()} ' .. ARGV[1])`
      await span('request', () => redis.multi().eval(own, 0, secret).exec())
      await until('all have ended', () => spans.filter(one => one.name === 'request').length === asked)
      const failed = spans.filter(one => one.annotations['error.type'] !== undefined)
      assert.ok(failed.length >= failing.length - 3, `${failed.length} failed`)
      assert.doesNotMatch(
        JSON.stringify(spans.map(({ name, annotations, events }) => [name, annotations, events])),
        /secret77|77\.77|XSECRET/,
      )
    })

    it('has the error of a command that fails within a transaction, and no text of a script', async () => {
      await redis.set(`${prefix}words`, 'text')
      const spans = start()
      await span('request', () => redis.multi().set(`${prefix}d`, '1').lpush(`${prefix}words`, '1').exec())
      const script = "return redis.error_reply('ERR user password is disabled')"
      await span('request', () => redis.multi().eval(script, 0).exec())
      await until('both have ended', () => spans.filter(one => one.name === 'request').length === 2)
      assert.deepEqual(
        spans
          .filter(one => one.name === 'MULTI')
          .map(({ annotations }) => [annotations['error.type'], annotations['error.message']]),
        [
          ['WRONGTYPE', 'WRONGTYPE Operation against a key holding the wrong kind of value'],
          ['ERR', undefined],
        ],
      )
    })

    it('has each command of an automatic pipeline in the trace of the one who asked', async function () {
      if (!('autoPipelineQueueSize' in Redis.prototype)) this.skip()
      const own = new Redis(server.port, server.host, { enableAutoPipelining: true })
      try {
        await once(own, 'ready')
        const ask = (name: string) => span(name, () => own.get(`${prefix}${name}`))
        await request(4, () => Promise.all([ask('first'), ask('second')]))
        assertTree('request\n  first\n    GET (client)\n  second\n    GET (client)', SHOWN)
      } finally {
        own.disconnect()
      }
    })

    it('has one span for a command that waits for the connection, in the trace of the one who asked', async () => {
      const lazy = new Redis(server.port, server.host, { lazyConnect: true })
      const spans = start()
      await Promise.all(['a', 'b'].map(name => span(name, () => lazy.get(`${prefix}${name}`))))
      await until('both have ended', () => spans.filter(one => one.name === 'GET').length === 2)
      for (const name of ['a', 'b']) {
        const own = spans.find(one => one.name === name)!
        assert.equal(spans.filter(one => one.name === 'GET' && one.parentId === own.spanId).length, 1)
      }
      // One whose trace isn't sampled stays so when it is sent later.
      const other = new Redis(server.port, server.host, { lazyConnect: true })
      const none = start({ sampler: 'never' })
      const asked = span('unsampled', () => other.get(`${prefix}a`))
      start()
      await asked
      assert.deepEqual(none, [])
      lazy.disconnect()
      other.disconnect()
    })

    it('tells of a server that goes away within a command', async () => {
      const own = await startOwnRedis()
      const other = new Redis(own.port, own.host, { retryStrategy: () => null })
      other.on('error', () => {})
      await once(other, 'ready')
      const asked = span('request', () => other.blpop('nothing', 60))
      const observer = new Redis(own.port, own.host, { retryStrategy: () => null })
      observer.on('error', () => {})
      await until('it waits', async () => (await observer.client('LIST')).includes('cmd=blpop'))
      await own.kill()
      await assert.rejects(asked)
      const spans = await ended(2)
      assert.ok(spans.find(one => one.name === 'BLPOP')!.annotations['error.type'])
      await assert.rejects(span('late', () => other.get('a')))
      await until('the late one has ended', () => spans.some(one => one.name === 'GET'))
    })

    it('gives messages to nobody’s trace', async () => {
      const subscriber = span('request', () => new Redis(server.port, server.host))
      const seen: unknown[] = []
      subscriber.on('message', () => seen.push(current().traceId))
      await span('another', () => subscriber.subscribe(`${prefix}channel`))
      await redis.publish(`${prefix}channel`, 'secret')
      await until('the message has come', () => seen.length === 1)
      assert.deepEqual(seen, ['0'.repeat(16)])
      subscriber.disconnect()
    })

    it('follows a cluster: one span a command, with the node that answered', async () => {
      const own = await startOwnRedisCluster()
      const cluster = new Redis.Cluster([{ host: own.host, port: own.port }], { lazyConnect: version !== '4.0.0' })
      cluster.on('error', () => {})
      const spans = await (async () => {
        const found = start()
        await span('request', async () => {
          await until('the cluster serves', () => cluster.set('{x}a', '1').catch(() => undefined))
          await cluster.pipeline().get('{x}a').get('{x}b').exec()
        })
        await until('all have ended', () => found.some(one => one.name === 'request'))
        return found
      })()
      const root = spans.find(one => one.name === 'request')!
      const set = spans.filter(one => one.name === 'SET').at(-1)!
      assert.equal(set.parentId, root.spanId)
      assert.equal(set.annotations['server.port'], String(own.port))
      assert.equal(spans.filter(one => one.name === 'PIPELINE').length, 1)
      cluster.disconnect()
      await own.kill()
    })

    it('leaves a rejection that nobody handles to the process, and does nothing in a trace that isn’t sampled', async () => {
      const before = process.listeners('unhandledRejection')
      process.removeAllListeners('unhandledRejection')
      try {
        await redis.set(`${prefix}text`, 'text')
        const told = once(process, 'unhandledRejection')
        void span('request', () => {
          void redis.incr(`${prefix}text`)
        })
        assert.match((await told)[0].message, /not an integer/)
      } finally {
        for (const listener of before) process.on('unhandledRejection', listener)
      }
      const spans = start({ sampler: 'never' })
      await redis.get(`${prefix}a`)
      assert.deepEqual(spans, [])
    })
  })
}
