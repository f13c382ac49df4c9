import assert from 'node:assert/strict'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { Folder } from '../../collector/src/offline/folder'
import { parseHdfsAddress } from '../../collector/src/offline/hdfs/address'
import { HdfsFolder } from '../../collector/src/offline/hdfs/folder'
import { exportHours } from '../../collector/src/offline/hour-files'
import { HOUR_US } from '../../collector/src/offline/hours'
import { openEmbeddedHours } from '../../collector/src/store/embedded/hours'
import type { HourReader } from '../../collector/src/store/store'
import { span, temporaryDirectory, undo } from '../collector/support'
import { type HdfsServer, startHdfs } from '../servers/hadoop'
import { accept, encoded, filesIn, options, recordsIn, TEN_US } from './exported'

const TWO_HOURS = { fromUs: TEN_US, toUs: TEN_US + 2 * HOUR_US }
const PARTS = { compress: 'gzip', partBytes: 400_000 } as const

describe('export to a real HDFS', function () {
  this.timeout(180_000)
  let hdfs: HdfsServer
  let reader: HourReader & { close(): Promise<void> }
  let expected: Map<string, Buffer>
  const messages = Array.from({ length: 200 }, (_, i) => ({
    at: i * 30_000_000,
    records: Array.from({ length: 10 }, () => span({ annotations: new Map([['x', 'x'.repeat(1_000)]]) })),
  }))

  before(async () => {
    const path = join(temporaryDirectory(), 'milo.db')
    accept(path, messages)
    reader = openEmbeddedHours(path, 'shop:2100')
    const local = temporaryDirectory()
    await exportHours(reader, new Folder(local), TWO_HOURS, options(PARTS))
    expected = filesIn(local)
    hdfs = await startHdfs()
  })
  after(async () => {
    await hdfs?.stop()
    await reader.close()
    await undo()
  })

  function folder(path: string, more: { user?: string; retryMs?: number } = {}): HdfsFolder {
    return new HdfsFolder(parseHdfsAddress(`${hdfs.web.replace('http', 'webhdfs')}${path}`), {
      user: 'milo',
      retryMs: 200,
      ...more,
    })
  }

  async function ask(path: string, op: string, user = 'root'): Promise<any> {
    const answer = await fetch(`${hdfs.web}/webhdfs/v1${path}?op=${op}&user.name=${user}`)
    return answer.ok ? (op === 'OPEN' ? Buffer.from(await answer.arrayBuffer()) : answer.json()) : undefined
  }

  /** The cluster's superuser is who runs it. */
  async function openTo(path: string, user: string): Promise<void> {
    const { username } = userInfo()
    for (const op of ['MKDIRS', `SETOWNER&owner=${user}`]) {
      const answer = await fetch(`${hdfs.web}/webhdfs/v1${path}?op=${op}&user.name=${username}`, { method: 'PUT' })
      assert.equal(answer.status, 200, op)
    }
  }

  async function filesAt(path: string): Promise<Map<string, Buffer>> {
    const { FileStatuses } = await ask(path, 'LISTSTATUS', 'milo')
    const names: string[] = FileStatuses.FileStatus.map(({ pathSuffix }: { pathSuffix: string }) => pathSuffix)
    const files = new Map<string, Buffer>()
    for (const name of names.sort()) files.set(name, await ask(`${path}/${name}`, 'OPEN', 'milo'))
    return files
  }

  it('writes the same files as to a folder, closed to strangers, and none of them twice', async () => {
    await openTo('/milo', 'milo')
    const exported = await exportHours(reader, folder('/milo/spans'), TWO_HOURS, options(PARTS))
    const files = await filesAt('/milo/spans')
    assert.ok(exported.parts > 6, `${exported.parts} parts`)
    assert.deepEqual(files, expected)
    assert.deepEqual(recordsIn(files), encoded(messages.flatMap(({ records }) => records)))
    const before = (await ask('/milo/spans', 'LISTSTATUS', 'milo')).FileStatuses.FileStatus
    for (const { permission, type } of before) assert.deepEqual([permission, type], ['640', 'FILE'])
    const again = await exportHours(reader, folder('/milo/spans'), TWO_HOURS, options(PARTS))
    assert.deepEqual([again.written, again.alreadyThere], [0, 2])
    assert.deepEqual((await ask('/milo/spans', 'LISTSTATUS', 'milo')).FileStatuses.FileStatus, before)
  })

  it('ends with an error when HDFS is gone in the middle, and the same command goes on, also before HDFS is back', async () => {
    let pages = 0
    let atPage = async () => {
      if (pages === 14) await hdfs.kill()
    }
    const watched: HourReader = {
      hourSources: () => reader.hourSources(),
      readHour: async (...hour) => {
        const read = await reader.readHour(...hour)
        return (async function* () {
          for await (const page of read) {
            // In pieces, so that there is a middle.
            for (let at = 0; at < page.lines.length; ) {
              const end = page.lines.indexOf('\n', Math.min(page.lines.length - 1, at + 100_000)) + 1
              yield { ...page, records: at === 0 ? page.records : 0, lines: page.lines.subarray(at, end) }
              at = end
              pages++
              await atPage()
            }
          }
        })()
      },
    }
    const told = options(PARTS)
    const lost = exportHours(watched, folder('/milo/again', { retryMs: 5 }), TWO_HOURS, told)
    await assert.rejects(lost, { passing: true, message: /HDFS doesn't answer|the datanode http/ })
    assert.ok(
      told.warned.every(what => /: the hour is begun again$/.test(what)) && told.warned.length > 1,
      told.warned.join('\n'),
    )
    atPage = async () => {}
    const restarting = hdfs.start()
    await exportHours(watched, folder('/milo/again', { retryMs: 500 }), TWO_HOURS, {
      ...options(PARTS),
      retryMs: 1_000,
    })
    await restarting
    assert.deepEqual(await filesAt('/milo/again'), expected)
  })

  it('says who may not write', async () => {
    await openTo('/annas', 'anna')
    await assert.rejects(exportHours(reader, folder('/annas/spans'), TWO_HOURS, options(PARTS)), {
      message: /refuses MKDIRS of \/annas\/spans \(403, AccessControlException: .*user=milo.*set HADOOP_USER_NAME/,
    })
    await exportHours(reader, folder('/annas/spans', { user: 'anna' }), TWO_HOURS, options(PARTS))
    const [{ owner }] = (await ask('/annas/spans', 'LISTSTATUS', 'anna')).FileStatuses.FileStatus
    assert.equal(owner, 'anna')
  })
})
