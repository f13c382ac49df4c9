import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'libsql'
import { EmbeddedFile } from '../../collector/src/store/embedded/file'
import { openEmbedded } from '../../collector/src/store/embedded/store'
import { type Finding, rebuild, verify } from '../../collector/src/store/embedded/verify'
import { indexPolicy } from '../../collector/src/store/search/index-policy'
import { append, found, messageOf, randomId, soon, span, tag } from './store-contract'

describe('embedded store, verified', function () {
  this.timeout(60_000)
  let folder: string
  let path: string

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'milo-verify-'))
    path = join(folder, 'milo.db')
    const store = await openEmbedded({ path, settleMs: 1 }, () => {})
    for (let i = 0; i < 5; i++) {
      const traceId = randomId()
      const tags = { user: `user-${i}`, 'Key!@ä': 'Ä Value' }
      await append(
        store,
        span({ traceId, name: 'Shop.buy', tags }),
        span({ traceId, tags: { error: 'x' } }),
        span({ events: [] }),
      )
    }
    // Longer than a transaction.
    await store.append([
      messageOf(Array.from({ length: 5_000 }, (_, i) => span({ name: 'many', tags: { n: String(i) } }))),
    ])
    await soon(async () => assert.equal(store.backlog().spans, 0))
    await store.close()
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  function change(sql: string): void {
    const db = new Database(path)
    db.exec(sql)
    db.close()
  }

  async function opened<R>(work: (file: EmbeddedFile) => Promise<R>): Promise<R> {
    const file = new EmbeddedFile(path, () => {})
    try {
      return await work(file)
    } finally {
      file.close()
    }
  }

  const findings = () => opened(file => verify(file, indexPolicy()))

  it('has nothing wrong with it when nothing is', async () => assert.deepEqual(await findings(), []))

  it('tells of a message with one flipped bit, and leaves that out of what it reads', async () => {
    const db = new Database(path)
    const [id, body] = db.prepare('SELECT id, body FROM message ORDER BY id LIMIT 1').raw().get([]) as unknown as [
      number,
      Buffer,
    ]
    const bad = Buffer.from(body)
    bad[bad.indexOf('buy')]! ^= 1
    db.prepare('UPDATE message SET body = ? WHERE id = ?').run([bad, id])
    db.close()
    const [first] = await findings()
    assert.match(first!.what, /^message \d+: isn't as it was written$/)
    const lines: string[] = []
    const store = await openEmbedded({ path }, line => lines.push(line))
    const traces = await found(store, { annotations: [tag('user', 'user-0')] })
    await store.close()
    assert.deepEqual(traces, [])
    assert.match(lines.join(), /message \d+ isn't as it was written, and is left out/)
  })

  it('finds what is wrong with the index, and makes it anew', async () => {
    const damages: [string, RegExp][] = [
      [
        "UPDATE chunk SET data = CAST(substr(data, 1, 100) || 'x' || substr(data, 102) AS BLOB) WHERE id IN (SELECT id FROM chunk LIMIT 1)",
        /records aren't those/,
      ],
      ['DELETE FROM chunk WHERE id IN (SELECT max(id) FROM chunk)', /records aren't those/],
      ["INSERT INTO index_1 (rowid, words) VALUES (1, 'nother')", /words aren't those/],
      ["INSERT INTO index_1 (rowid, words) VALUES (1, 'vuser!!other')", /annotations aren't those/],
      ['DELETE FROM index_1_data WHERE id > 10', /part 1 of the index/],
    ]
    for (const [sql, what] of damages) {
      change(sql)
      const ofPart = (await findings()).filter(({ part }: Finding) => part === 1n)
      assert.match(ofPart[0]?.what ?? '', what, sql)
      await opened(file => rebuild(file, 1n, indexPolicy()))
      assert.deepEqual(await findings(), [], sql)
    }
    const store = await openEmbedded({ path }, () => {})
    assert.equal((await found(store, { annotations: [tag('n', '4321')] })).length, 1)
    assert.equal((await found(store, { annotations: [tag('n', '43', 'contains')] })).length > 1, true)
    await store.close()
  })
})
