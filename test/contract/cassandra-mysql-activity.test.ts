import assert from 'node:assert/strict'
import { MINUTE_US } from '../../collector/src/store/activity/model'
import { sumActivity } from '../../collector/src/store/activity/read'
import { MySqlActivity } from '../../collector/src/store/cassandra-mysql/mysql-activity'
import { openCassandraMySql } from '../../collector/src/store/cassandra-mysql/store'
import { activityContract } from './activity-contract'
import { type Databases, newDatabases, settled } from './databases'
import { HostileClock } from './hostile-clock'
import { append, span, unique } from './store-contract'

activityContract(
  'cassandra-mysql',
  async () => {
    const databases = await newDatabases()
    return {
      open: async (clock, collector = 'one') => {
        const store = await openCassandraMySql(databases.collector(collector), () => {}, clock)
        const { backend } = store as any
        // The test folds.
        clearTimeout(backend.folder.timer)
        return {
          settle: async message => {
            await store.append([message])
            await settled(store)
          },
          folder: backend.folder,
          table: new MySqlActivity(backend.mysql),
          activity: query => store.activity(query),
          backlog: () => store.backlog(),
          close: async () => {
            backend.folder.close = async () => {}
            await store.close()
          },
        }
      },
      remove: () => databases.drop(),
    }
  },
  true,
)

describe('cassandra-mysql store, what services did, when the database fails', function () {
  this.timeout(120_000)
  let databases: Databases
  let clock: HostileClock

  before(async function () {
    this.timeout(300_000)
    databases = await newDatabases()
    clock = new HostileClock()
  })
  after(async () => {
    clock.restore()
    await databases?.drop()
  })

  async function callsOf(store: any, service: string): Promise<number> {
    const toUs = Number(clock.wallUs()) + MINUTE_US
    const query = {
      fromUs: toUs - 3600e6,
      toUs,
      stepUs: Number.POSITIVE_INFINITY,
      kinds: ['operations' as const],
      service,
    }
    const [sums] = (await sumActivity(part => store.activity(part), query)).values()
    return [...(sums?.operations.values() ?? [])].reduce((n, { calls }) => n + calls, 0)
  }

  it('counts once when it is not known whether a settling was committed', async () => {
    const store = await openCassandraMySql(databases.collector('one'), () => {}, clock)
    const { backend } = store as any
    const { finish } = backend
    const { transact } = backend.mysql
    const service = unique('s')
    let failures = 0
    backend.finish = async (...args: unknown[]) => {
      backend.mysql.transact = async (work: unknown) => {
        await transact.call(backend.mysql, work)
        throw new Error('connection lost')
      }
      // The answer is lost; the next attempt finds the rows of the first.
      if (failures++ === 2) backend.mysql.transact = transact
      try {
        return await finish.apply(backend, args)
      } finally {
        backend.mysql.transact = transact
      }
    }
    await append(store, ...Array.from({ length: 30 }, () => span({ service, startUs: clock.wallUs() })))
    await settled(store)
    assert.equal(failures, 3)
    assert.equal(await callsOf(store, service), 30)
    await backend.folder.fold()
    assert.equal(await callsOf(store, service), 30)
    await store.close()
  })

  it('counts once when a transaction is repeated after a conflict', async () => {
    const store = await openCassandraMySql(databases.collector('two'), () => {}, clock)
    const { backend } = store as any
    const { finish } = backend
    const { transact } = backend.mysql
    const service = unique('s')
    let conflicts = 2
    backend.finish = (...args: unknown[]) => {
      backend.mysql.transact = (work: (connection: any) => Promise<unknown>) =>
        transact.call(backend.mysql, async (connection: any) => {
          const result = await work(connection)
          if (conflicts-- > 0) throw Object.assign(new Error('Deadlock found'), { errno: 1213 })
          return result
        })
      return finish.apply(backend, args)
    }
    await append(store, ...Array.from({ length: 30 }, () => span({ service, startUs: clock.wallUs() })))
    await settled(store)
    assert.ok(conflicts < 0)
    assert.equal(await callsOf(store, service), 30)
    const [{ pieces, most }] = await databases.own(
      'SELECT COUNT(*) AS pieces, MAX(piece) AS most FROM activity_settled',
    )
    assert.ok(pieces > 0 && most === 0)
    await store.close()
  })

  it('cuts a settling into pieces that any server takes, and reads them whole', async () => {
    const store = await openCassandraMySql(databases.collector('three'), () => {}, clock)
    const { backend } = store as any
    clearTimeout(backend.folder.timer)
    // Each connection that is opened would set it.
    Object.defineProperty(backend.mysql, 'statementBytes', { get: () => 20_000, set: () => {} })
    const service = unique('s')
    const records = Array.from({ length: 3_000 }, (_, i) =>
      span({ service, name: `operation ${i % 400}`, startUs: clock.wallUs() }),
    )
    await append(store, ...records)
    await settled(store)
    const [{ most }] = await databases.own('SELECT MAX(piece) AS most FROM activity_settled')
    assert.ok(most > 3, `${most} pieces`)
    assert.equal(await callsOf(store, service), 3_000)
    const other = await openCassandraMySql(databases.collector('four'), () => {}, clock)
    await append(other, ...records)
    await settled(other)
    await backend.folder.fold()
    assert.equal(await callsOf(other, service), 3_000)
    await Promise.all([store.close(), other.close()])
  })
})
