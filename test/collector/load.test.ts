import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { createToken } from '../../collector/src/auth/credentials'
import { type LoadOptions, loadAll, retryAfterMs } from '../../collector/src/commands/load'
import { type Config, loadConfig } from '../../collector/src/config'
import { openStore } from '../../collector/src/store/open'
import { analysedShop, edgeLine, lines, whole, windowLine } from '../helpers/results'
import { collector, recordingLog, temporaryDirectory, undo } from './support'

const DAY = '2026-11-29T10:00Z'
const NEXT = '2026-11-30T10:00Z'
const HTTP = { ...loadConfig(undefined, {}).config.http, port: 0 }

describe('milo-collector load', () => {
  let folder: string
  let log: ReturnType<typeof recordingLog>

  before(() => {
    folder = temporaryDirectory()
  })
  after(undo)
  beforeEach(() => {
    log = recordingLog()
  })

  const file = (name: string, content: string | Buffer) => {
    const path = join(folder, name)
    writeFileSync(path, content)
    return path
  }
  const configAt = (path: string, http = HTTP): Config => {
    const { config } = loadConfig(undefined, { MILO_COLLECTOR_EMBEDDED_PATH: path })
    return { ...config, http }
  }
  const load = (config: Config, files: string[], options: LoadOptions = {}) => loadAll(config, log.log, options, files)
  const windowsAt = async (url: string, token?: string) => {
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
    const { windows } = (await (await fetch(`${url}/api/analysis`, { headers })).json()) as {
      windows: { id: string }[]
    }
    return windows.map(({ id }) => id)
  }

  it('puts each file, gzipped or not, into a store that nobody has open', async () => {
    const config = configAt(join(folder, 'own.db'))
    await load(config, [
      file('day.jsonl', whole(analysedShop(DAY, 1000))),
      file('next.jsonl.gz', gzipSync(whole(analysedShop(NEXT, 1000)))),
    ])
    const store = await openStore(config)
    const windows = await store.analyses()
    await store.close()
    assert.deepEqual(
      windows.map(({ fromUs }) => fromUs),
      [NEXT, DAY].map(time => Date.parse(time) * 1000),
    )
    assert.deepEqual(
      log.lines.filter(({ msg }) => msg === 'loaded').map(({ window, results }) => [window, results > 5]),
      [
        ['2026-11-29T10..2026-11-29T11', true],
        ['2026-11-30T10..2026-11-30T11', true],
      ],
    )
  })

  it('hands them to the collector that has the store open', async () => {
    const running = await collector()
    const config = configAt(running.config.embedded.path, { ...HTTP, port: running.httpPort })
    await load(config, [file('handed.jsonl', whole(analysedShop(DAY, 1000)))])
    assert.deepEqual(await windowsAt(running.url), ['2026-11-29T10..2026-11-29T11'])
    assert.ok(log.lines.some(({ msg }) => /a running collector has the store open/.test(msg)))
    // No port says where it is.
    await assert.rejects(load(configAt(running.config.embedded.path), [folder]), { code: 'MILO_STORE_LOCKED' })
  })

  it('hands them to another collector with a token of a file or of MILO_LOAD_TOKEN, and says what is wrong with that', async () => {
    const [read, ingest] = await Promise.all((['read', 'ingest'] as const).map(scope => createToken(scope, scope)))
    const running = await collector({ http: { ...HTTP, tokens: [read!.line, ingest!.line] } })
    const results = file('results.jsonl', whole(analysedShop(DAY, 1000)))
    const anywhere = configAt(join(folder, 'unused.db'))
    const into = (tokenFile?: string) => load(anywhere, [results], { to: running.url, ...(tokenFile && { tokenFile }) })
    await assert.rejects(
      into(),
      /results\.jsonl: http:.* answers 401: .*set MILO_LOAD_TOKEN or --token-file to a token of scope ingest/,
    )
    await assert.rejects(into(file('read', read!.token)), /answers 403/)
    await into(file('ingest', `${ingest!.token}\n`))
    process.env.MILO_LOAD_TOKEN = ingest!.token
    try {
      await into()
    } finally {
      delete process.env.MILO_LOAD_TOKEN
    }
    assert.deepEqual(await windowsAt(running.url, read!.token), ['2026-11-29T10..2026-11-29T11'])
    await assert.rejects(into(join(folder, 'nothing')), /--token-file: .*nothing can't be read \(ENOENT\)/)
    const elsewhere = { to: 'http://127.0.0.1:9' }
    await assert.rejects(
      load(anywhere, [results], elsewhere),
      /http:\/\/127\.0\.0\.1:9\/ can't be reached \(.*ECONNREFUSED.*\): start the collector/,
    )
    for (const to of ['nowhere', 'ftp://there'])
      await assert.rejects(
        load(anywhere, [results], { to }),
        /--to: .* isn't .*: give the collector's address, such as http:/,
      )
    const withToken = { to: running.url, tokenFile: join(folder, 'ingest') }
    await assert.rejects(
      load(anywhere, [join(folder, 'nowhere')], withToken),
      /nowhere can't be read \(ENOENT\): give existing files/,
    )
    await assert.rejects(
      load(anywhere, [file('bad.jsonl', `${lines([windowLine(DAY)])}nonsense`)], withToken),
      /bad\.jsonl: .* answers 400: the body: line 2: it isn't JSON/,
    )
  })

  it('comes again when a collector says, within a minute, and by itself where that says nothing', () => {
    assert.deepEqual(
      ['0', '1', '99999999999', '9'.repeat(400), '-1', '', 'Sun, 06 Nov 1994 08:00:00 GMT', undefined].map(
        retryAfterMs,
      ),
      [0, 1000, 60_000, 60_000, undefined, undefined, undefined, undefined],
    )
  })

  it('names the file and the line that is wrong, and changes nothing', async () => {
    const config = configAt(join(folder, 'wrong.db'))
    mkdirSync(join(folder, 'directory'))
    const good = lines([windowLine(DAY)])
    const all = whole(analysedShop(DAY, 1000))
    const atLine = (n: number) => all.split('\n').slice(0, n).join('\n').concat('\n')
    const CUT =
      /not whole: its last line is not of kind "end"\. A copy was cut, .* run milo-collector reduce --merge again/
    for (const [path, error] of [
      [file('empty.jsonl', ''), /empty\.jsonl: it has no results/],
      [file('cut-at-a-line.jsonl', atLine(5)), CUT],
      [file('cut-at-a-line.gz', gzipSync(atLine(5))), CUT],
      [file('window-alone.jsonl', good), CUT],
      [
        file('line-lost.jsonl', all.replace(/^.*"Cart.total".*\n/m, '')),
        /not whole: it has \d+ results of \d+\. A copy was cut/,
      ],
      [
        file('two.jsonl', all + whole(analysedShop(NEXT, 1000))),
        /two\.jsonl: line \d+: it begins the results of another/,
      ],
      [file('more.jsonl', all + lines([edgeLine('a', 'b', 1)])), /more\.jsonl: line \d+: it comes after the end/],
      [file('cut.jsonl', `${good}{"kind":"edge"`), /cut\.jsonl: line 2: it isn't JSON/],
      [file('cut.gz', gzipSync(good).subarray(0, 30)), /cut\.gz can't be decompressed/],
      [join(folder, 'nowhere'), /nowhere can't be read \(ENOENT\): give existing files, or - for standard input/],
      [join(folder, 'directory'), /directory can't be read \(EISDIR\)/],
    ] as const) {
      await assert.rejects(load(config, [path]), error)
    }
    await assert.rejects(load(config, ['-', '-']), /standard input \(-\) can be read once/)
    const store = await openStore(config)
    assert.deepEqual(await store.analyses(), [])
    await store.close()
  })
})
