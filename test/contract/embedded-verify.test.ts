import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'libsql'
import { sumActivity } from '../../collector/src/store/activity/read'
import type { Load } from '../../collector/src/store/analysis/model'
import { openEmbedded } from '../../collector/src/store/embedded/store'
import { verifyEmbedded } from '../../collector/src/store/embedded/verify'
import { analysedShop, loadOf } from '../helpers/results'
import { seeded } from '../helpers/seeded'
import { append, found, messageOf, randomId, soon, span, structs, tag } from './store-contract'

const SEED = Number(process.env.MILO_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31))

const EXPECTED = ['the file: N settling', 'operations of servic', 'settling N: a delta ']

describe(`embedded store, verified (MILO_TEST_SEED=${SEED})`, function () {
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

  async function verify(repair: boolean, file = path): Promise<string[]> {
    const findings: string[] = []
    await verifyEmbedded(file, undefined, {
      repair,
      onFinding: ({ where, what, repaired }) => findings.push(`${where}: ${what}${repaired ? ' (repaired)' : ''}`),
      progress: () => {},
      log: () => {},
    })
    return findings
  }

  it('has nothing wrong with it when nothing is', async () => assert.deepEqual(await verify(true), []))

  it('tells of results of analyses that are damaged, lost, or where nobody looks for them', async () => {
    const store = await openEmbedded({ path }, () => {})
    const loads: Load[] = []
    for (const hour of ['10', '11', '12', '13', '14']) {
      loads.push(await loadOf(analysedShop(`2026-11-30T${hour}:00Z`, 1000)))
      await store.saveAnalysis(loads.at(-1)!)
    }
    await store.close()
    assert.deepEqual(await verify(true), [])
    const [damaged, lost, misplaced, endless] = loads.map(({ load }) => load)
    change(`UPDATE analysis_piece SET body = substr(body, 1, length(body) - 3) WHERE load = ${damaged} AND kind = 'edge';
            DELETE FROM analysis_piece WHERE load = ${lost} AND kind = 'instrumentation';
            UPDATE analysis_piece SET root = 7 WHERE load = ${misplaced} AND kind = 'slow';
            DELETE FROM analysis_piece WHERE load = ${endless} AND kind = 'end';
            UPDATE analysis SET summary = 'x' WHERE load = ${loads[4]!.load}`)
    const findings = (await verify(true)).sort()
    const WRONG = [
      /T10\.\..*T11: .*aren't as they were written/,
      /T11\.\..*: it is not whole: it has \d+ results of \d+/,
      /T12\.\..*: a line of kind slow is stored where no reader looks for it/,
      /T13\.\..*: its last line is not of kind "end"/,
      /T14\.\..*: .*JSON/,
    ]
    assert.equal(findings.length, WRONG.length, findings.join('\n'))
    for (const [i, wrong] of WRONG.entries()) assert.match(findings[i]!, wrong)
    assert.match(findings[0]!, /^the results of 2026-11-30T10.*: load them again; or remove them by DELETE/)
  })

  it('tells of figures of services that are damaged, and removes them, so that the rest can be read', async () => {
    const nowUs = Date.now() * 1000
    const query = { fromUs: nowUs - 3600e6, toUs: nowUs + 60e6, stepUs: Number.POSITIVE_INFINITY }
    const read = async () => {
      const store = await openEmbedded({ path }, () => {})
      return sumActivity(part => store.activity(part), { ...query, kinds: ['operations'] }).finally(() => store.close())
    }
    assert.equal((await read()).size, 1)
    change(`UPDATE activity SET body = substr(body, 1, length(body) - 1);
            UPDATE activity_settled SET delta = x'01ff';
            UPDATE activity_progress SET folded = settled + 1`)
    const findings = await verify(true)
    assert.deepEqual(new Set(findings.map(line => line.replace(/\d+/g, 'N').slice(0, 20))), new Set(EXPECTED))
    assert.ok(findings.filter(line => line.endsWith('(repaired)')).length === findings.length - 1)
    change('UPDATE activity_progress SET folded = settled')
    assert.deepEqual(await verify(false), [])
    assert.equal((await read()).size, 0)
  })

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
    assert.match((await verify(false))[0]!, /^message \d+: isn't as it was written$/)
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
      ['UPDATE chunk SET last_us = last_us - 1', /times of its records/],
      ['UPDATE chunk SET longest_us = 0', /times of its records/],
      ['DELETE FROM value WHERE id = 1', /list of values/],
    ]
    for (const [sql, what] of damages) {
      change(sql)
      const before = (await verify(false)).filter(finding => finding.startsWith('part 1'))
      assert.match(before[0] ?? '', what, sql)
      const repaired = (await verify(true)).filter(finding => finding.startsWith('part 1'))
      assert.deepEqual(repaired, [`${before[0]} (repaired)`])
      assert.deepEqual(await verify(true), [], sql)
    }
    const store = await openEmbedded({ path }, () => {})
    assert.equal((await found(store, { annotations: [tag('n', '4321')] })).length, 1)
    assert.equal((await found(store, { annotations: [tag('n', '43', 'contains')] })).length > 1, true)
    await store.close()
  })

  it('takes nothing settled out of the index, whatever the row says that tells how far it goes', async () => {
    change('UPDATE progress SET indexed = 1, indexed_end = 8')
    assert.deepEqual(await verify(true), [])
    const store = await openEmbedded({ path }, () => {})
    assert.equal((await found(store, { annotations: [tag('n', '4321')] })).length, 1)
    const record = span({ name: 'after' })
    await append(store, record)
    await soon(async () => assert.deepEqual(await found(store, { name: 'after' }), [record.traceId]))
    await store.close()
    assert.deepEqual(await verify(false), [])
  })

  it('tells of rows about parts and progress that cannot be so', async () => {
    const rows: [string, string, RegExp][] = [
      ['UPDATE part SET live = 0', 'UPDATE part SET live = 1', /part 1 is said to be going/],
      [
        'UPDATE part SET last_message = last_message + 65536',
        'UPDATE part SET last_message = last_message - 65536',
        /part 1 is said to have/,
      ],
      [
        'UPDATE progress SET indexed = indexed + 65536',
        'UPDATE progress SET indexed = indexed - 65536',
        /up to \d+, the last is \d+/,
      ],
    ]
    for (const [damage, mend, what] of rows) {
      change(damage)
      assert.match((await verify(false)).join('\n'), what)
      change(mend)
      assert.deepEqual(await verify(false), [])
    }
  })

  it('reads bytes that a flipped bit has made text, as it changes none of them', async () => {
    const read = async () => {
      const store = await openEmbedded({ path }, () => {})
      try {
        return [await found(store, { annotations: [tag('user', '7', 'contains')] }), await store.savedSearches()]
      } finally {
        await store.close()
      }
    }
    const expected = await read()
    for (const [table, column] of [
      ['message', 'body'],
      ['chunk', 'data'],
      ['value', 'data'],
      ['activity', 'body'],
      ['activity_settled', 'recent'],
    ]) {
      change(`UPDATE ${table} SET ${column} = CAST(${column} AS TEXT)`)
      assert.deepEqual(await verify(false), [], `${table}.${column}`)
      assert.deepEqual(await read(), expected, `${table}.${column}`)
    }
  })

  it('refuses a file with a flipped bit in the type of a column', async () => {
    const bytes = readFileSync(path)
    const column = 'received_us INTEGER'
    // Pages that are free may have it too.
    for (let at = bytes.indexOf(column); at !== -1; at = bytes.indexOf(column, at + 1)) {
      bytes[at + column.indexOf('INTEGER')]! ^= 0x80
    }
    const copy = join(folder, 'schema.db')
    writeFileSync(copy, bytes)
    const error = { code: 'MILO_STORE_DAMAGED', message: /its schema isn't text/ }
    await assert.rejects(verify(false, copy), error)
    await assert.rejects(
      openEmbedded({ path: copy }, () => {}),
      error,
    )
    // What is put in its place is read at once, by the same process.
    writeFileSync(copy, readFileSync(path))
    assert.deepEqual(await verify(false, copy), [])
  })

  it('finds each flipped bit that changes what is read or searched for', async () => {
    const traceIds = [randomId(), randomId()]
    const small = join(folder, 'small.db')
    const filled = await openEmbedded({ path: small, settleMs: 1 }, () => {})
    for (let i = 0; i < 100; i++) {
      const tags = { user: `user-${i}`, kind: i % 3 === 0 ? 'rare' : 'common' }
      await append(filled, span({ traceId: traceIds[i % 2]!, id: BigInt(i + 1), name: `n${i % 5}`, tags }))
    }
    await soon(async () => assert.equal(filled.backlog().spans, 0))
    await filled.close()
    const answers = async (file: string) => {
      const store = await openEmbedded({ path: file }, () => {})
      try {
        const traces = await Promise.all(traceIds.map(id => store.readTrace(id)))
        const searches = [
          { name: 'n3' },
          { annotations: [tag('kind', 'rare')] },
          { annotations: [tag('user', '7', 'contains')] },
          { annotations: [tag('user', 'user-9', 'prefix')] },
          { annotations: [tag('user', 'user-42')], name: 'n2' },
        ]
        const pages: bigint[][] = []
        for (const conditions of searches) pages.push(await found(store, conditions))
        const values = await store.complete({ field: 'value', key: 'user', prefix: 'user-1', limit: 20 })
        return { records: traces.map(structs), pages, values }
      } finally {
        await store.close()
      }
    }
    const expected = await answers(small)
    const random = seeded(SEED)
    const copy = join(folder, 'flipped.db')
    let noticed = 0
    for (let i = 0; i < 40; i++) {
      const bytes = readFileSync(small)
      const at = Math.floor(random() * bytes.length)
      bytes[at]! ^= 1 << Math.floor(random() * 8)
      writeFileSync(copy, bytes)
      const wrong = await verify(false, copy).catch(error => [String(error)])
      if (wrong.length > 0) noticed++
      else assert.deepEqual(await answers(copy), expected, `byte ${at}`)
    }
    assert.ok(noticed > 0)
  })
})
