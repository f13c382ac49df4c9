import assert from 'node:assert/strict'
import { Folder } from '../../collector/src/offline/folder'
import { exportHours } from '../../collector/src/offline/hour-files'
import { HOUR_US } from '../../collector/src/offline/hours'
import { decodeRecords } from '../../collector/src/record/records'
import { Cassandra } from '../../collector/src/store/cassandra-mysql/cassandra'
import { CassandraSpans } from '../../collector/src/store/cassandra-mysql/cassandra-spans'
import { collectorNumber, spanRows } from '../../collector/src/store/cassandra-mysql/span-rows'
import { migrate, openHours, replayCollector } from '../../collector/src/store/open'
import { systemClock } from '../../collector/src/store/pipeline/clock'
import type { Entry } from '../../collector/src/store/pipeline/entry'
import type { HourReader } from '../../collector/src/store/store'
import type { SpanRecord } from '../../src/codec/span'
import { temporaryDirectory, undo } from '../collector/support'
import { encoded, filesIn, namesOfParts, options, recordsIn } from '../offline/exported'
import { type Databases, newDatabases } from './databases'
import { messageOf, span } from './store-contract'

const DAY_US = 24 * HOUR_US
/** An hour that has been over for an hour at least. */
const hourUs = Math.floor((Date.now() * 1000) / HOUR_US - 2) * HOUR_US
const HOURS = { fromUs: hourUs, toUs: hourUs + HOUR_US }

function entry(us: number, records: SpanRecord[], receivedUs = us): Entry {
  const { body } = messageOf(records as Parameters<typeof messageOf>[0])
  return { id: BigInt(us), receivedUs: BigInt(receivedUs), body, start: 0, end: body.length, spans: records.length }
}

describe('hours in Cassandra', () => {
  let databases: Databases
  let cassandra: Cassandra
  let spans: CassandraSpans
  let reader: HourReader & { close(): Promise<void> }

  before(async () => {
    databases = await newDatabases()
    await migrate(databases.config)
    cassandra = await Cassandra.open(databases.config.cassandra)
    spans = new CassandraSpans(cassandra, 7, systemClock)
    reader = await openHours(databases.config)
  })
  after(async () => {
    await reader?.close()
    await cassandra?.close()
    await databases?.drop()
    await undo()
  })

  const settledUpTo = (collector: string, us: number) =>
    databases.own('INSERT INTO checkpoint VALUES (?, ?)', [collector, BigInt(us)])
  const sources = async () => new Map((await reader.hourSources()).map(source => [source.collector, source]))

  /** In seconds all over the hour, and a little behind it; one of them with more than a page, and a trace with rows of its own. */
  function settledEntries(): Entry[] {
    const long = span({})
    const large = Array.from({ length: 60 }, () => span({ traceId: long.traceId, tags: { x: 'x'.repeat(3_000) } }))
    return [
      ...Array.from({ length: 40 }, (_, i) => entry(hourUs + i * 91_000_000, [span({}), span({})])),
      entry(hourUs + 77_000_000, [
        ...Array.from({ length: 3_000 }, () => span({ tags: { x: 'x'.repeat(500) } })),
        ...large,
      ]),
    ]
  }

  it('are read second by second, as they were accepted, the same bytes each time; damaged rows are named', async () => {
    const entries = settledEntries()
    await spans.write(collectorNumber('shop:2100'), spanRows(entries))
    await settledUpTo('shop:2100', Date.now() * 1000)
    const [first, second, third] = [temporaryDirectory(), temporaryDirectory(), temporaryDirectory()]
    const small = { compress: 'gzip', partBytes: 500_000 } as const
    const exported = await exportHours(reader, new Folder(first), HOURS, options(small))
    const files = filesIn(first)
    const inHour = entries.filter(({ id }) => id < BigInt(HOURS.toUs))
    const expected = encoded(inHour.flatMap(({ body }) => decodeRecords(body)))
    assert.deepEqual(recordsIn(files), expected)
    assert.equal(exported.records, expected.length)
    assert.ok(exported.parts > 3, `${exported.parts} parts`)
    assert.match([...files.keys()][0]!, /^2\d\d\d-\d\d-\d\dT\d\dZ-shop_2100-[0-9a-f]{8}-0000\.tsv\.gz$/)

    const others = { fromUs: hourUs - HOUR_US, toUs: hourUs }
    await spans.write(collectorNumber('shop:2100'), spanRows([entry(others.fromUs + 5, [span({})])]))
    await exportHours(reader, new Folder(second), HOURS, options(small))
    assert.deepEqual(filesIn(second), files)

    const slot = BigInt(hourUs + 91_000_000) / 1_000_000n
    const { keyspace } = databases.config.cassandra
    const [row] = await databases.cql(`SELECT * FROM ${keyspace}.spans WHERE collector = ? AND slot = ?`, [
      collectorNumber('shop:2100'),
      slot,
    ])
    await databases.cql(
      `UPDATE ${keyspace}.spans SET records = ? WHERE collector = ? AND slot = ? AND node = ? AND uid = ?`,
      [
        Buffer.concat([row!.records.subarray(0, 40), Buffer.from('??')]),
        ...[row!.collector, row!.slot, row!.node, row!.uid],
      ],
    )
    const told = options(small)
    const { damaged, records } = await exportHours(reader, new Folder(third), HOURS, told)
    assert.deepEqual([damaged, records], [1, expected.length - 2])
    assert.match(
      told.warned[0]!,
      new RegExp(`^left out: second ${slot} of collector shop:2100, row .* isn't as it was written$`),
    )
  })

  it('wait for what a collector has accepted and not settled, as long as that takes', async () => {
    const folder = temporaryDirectory()
    const records = [span({}), span({})]
    const unsettledUs = hourUs + 1_800_000_000
    await spans.journal('cart:2100', [entry(unsettledUs, records)])
    assert.equal((await sources()).get('cart:2100')!.toUs, unsettledUs)
    const told = options()
    await exportHours(reader, new Folder(folder), HOURS, told)
    assert.ok(!namesOfParts(filesIn(folder).keys()).some(name => name.includes('cart')))
    assert.match(
      told.warned.join('\n'),
      /hours from .*Z on are left out: spans of theirs aren't settled yet: .* replay --collector 'cart:2100'/,
    )

    await replayCollector(databases.config, 'cart:2100', () => {})
    const before = filesIn(folder)
    await exportHours(reader, new Folder(folder), HOURS, options())
    const added = new Map([...filesIn(folder)].filter(([name]) => !before.has(name)))
    assert.deepEqual(recordsIn(added), encoded(records))
  })

  it('end where a collector’s numbers do, and aren’t those of collectors whose spans have expired', async () => {
    const nowUs = Date.now() * 1000
    // It was suspended for three hours, in which its numbers stood still.
    await spans.journal('asleep:2100', [entry(nowUs - 3 * HOUR_US, [span({})], nowUs)])
    await settledUpTo('asleep:2100', nowUs - 3 * HOUR_US)
    await settledUpTo('gone:2100', nowUs - 8 * DAY_US)
    await settledUpTo('idle:2100', nowUs - 2 * DAY_US)
    const all = await sources()
    assert.deepEqual([...all.keys()], ['asleep:2100', 'cart:2100', 'idle:2100', 'shop:2100'])
    const [asleep, idle] = [all.get('asleep:2100')!, all.get('idle:2100')!]
    assert.ok(asleep.toUs <= nowUs - 3 * HOUR_US && asleep.toUs > nowUs - 3.2 * HOUR_US, `${asleep.toUs}`)
    assert.ok(idle.toUs > nowUs - 0.2 * HOUR_US)
    assert.ok(idle.fromUs > nowUs - 7.1 * DAY_US && idle.fromUs < nowUs - 6.9 * DAY_US)
    const folder = temporaryDirectory()
    const exported = await exportHours(
      reader,
      new Folder(folder),
      { fromUs: hourUs - 2 * HOUR_US, toUs: hourUs },
      options(),
    )
    assert.equal(namesOfParts(filesIn(folder).keys()).filter(name => name.includes('idle')).length, 0)
    assert.ok(exported.written >= 6)
  })
})
