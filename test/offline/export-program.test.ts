import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createToken } from '../../collector/src/auth/credentials'
import { loadConfig } from '../../collector/src/config'
import { Folder } from '../../collector/src/offline/folder'
import { exportHours } from '../../collector/src/offline/hour-files'
import { openEmbeddedHours } from '../../collector/src/store/embedded/hours'
import { collector, span, temporaryDirectory, undo } from '../collector/support'
import { ROOT } from '../helpers/child'
import { Program } from '../helpers/programs'
import { until } from '../helpers/until'
import { AN_HOUR, accept, encoded, filesIn, options, recordsIn } from './exported'

const BIN = join(ROOT, 'collector/bin/milo-collector.js')
const HOURS = '2026-03-01T10..2026-03-01T11'

/** The command, as its users run it. */
describe('milo-collector export --hours', () => {
  let path: string
  const messages = Array.from({ length: 200 }, (_, i) => ({
    at: i * 1_000_000,
    records: [span({ annotations: new Map([['x', 'x'.repeat(20_000)]]) })],
  }))
  const records = encoded(messages.flatMap(({ records }) => records))

  before(() => {
    path = join(temporaryDirectory(), 'milo.db')
    accept(path, messages)
  })
  after(undo)

  async function run(args: string[], env: NodeJS.ProcessEnv = {}, command = [process.execPath, BIN]) {
    const program = new Program(command[0]!, [...command.slice(1), 'export', ...args], {
      MILO_COLLECTOR_EMBEDDED_PATH: path,
      MILO_COLLECTOR_ID: 'shop:2100',
      ...env,
    })
    const [status] = await once(program.child, 'close')
    return { status, stdout: program.stdout, stderr: program.stderr }
  }

  it('writes the files, says what it has done, and does nothing the second time', async () => {
    const to = temporaryDirectory()
    const first = await run(['--hours', HOURS, '--to', to, '--compress', 'gzip'])
    assert.deepEqual([first.status, first.stdout], [0, ''], first.stderr)
    assert.match(first.stderr, /"written":1,"alreadyThere":0,.*"records":200,"damaged":0,"msg":"exported"/)
    assert.deepEqual(recordsIn(filesIn(to)), records)
    assert.match((await run(['--hours', HOURS, '--to', to])).stderr, /"written":0,"alreadyThere":1,/)
    const nothing = await run(['--hours', '2026-02-01..2026-02-02', '--to', to])
    assert.match(
      nothing.stderr,
      /no whole hour of these is stored: nothing is written\. The hour that is running can be exported from .*:02Z on/,
    )
  })

  it('refuses what makes no sense, with a remedy', async () => {
    const refused: [string[], RegExp][] = [
      [['--hours', 'today', '--to', 'x'], /--hours 'today' isn't FROM\.\.TO in hours/],
      [['--hours', HOURS], /--hours writes files: give --to/],
      [['--hours', HOURS, '--to', 'x', '--limit', '3'], /leave out --query, --form, --limit and --output/],
      [['--compress', 'gzip'], /--compress goes with --hours/],
      [
        ['--hours', HOURS, '--to', 'x', '--from', 'http://127.0.0.1:1', '--token-file', '/nowhere'],
        /--token-file: \/nowhere can't be read \(ENOENT\)/,
      ],
    ]
    await Promise.all(
      refused.map(async ([args, expected]) => {
        const { status, stderr } = await run(args)
        assert.equal(status, 2, stderr)
        assert.match(stderr, expected)
      }),
    )
  })

  it('asks a running collector, with a token that it shows to nobody', async () => {
    const { token, line } = createToken('hadoop', 'read')
    const copy = join(temporaryDirectory(), 'milo.db')
    accept(copy, messages)
    const http = { ...loadConfig(undefined, {}).config.http, port: 0, tokens: [line] }
    const c = await collector({ embedded: { path: copy }, collector_id: 'shop:2100', http })
    const [to, file] = [temporaryDirectory(), join(temporaryDirectory(), 'token')]
    writeFileSync(file, `${token}\n`)
    const good = await run(['--hours', HOURS, '--to', to, '--from', c.url, '--token-file', file])
    assert.equal(good.status, 0, good.stderr)
    assert.deepEqual(recordsIn(filesIn(to)), records)
    // Without --from, the address is said.
    const locked = { MILO_COLLECTOR_EMBEDDED_PATH: copy, MILO_COLLECTOR_HTTP_PORT: String(c.httpPort) }
    const beside = await run(['--hours', HOURS, '--to', to], locked)
    assert.equal(beside.status, 1)
    assert.ok(beside.stderr.includes(`or ask that collector: --from ${c.url}`), beside.stderr)
    const bad = await run(['--hours', HOURS, '--to', to, '--from', c.url], { MILO_EXPORT_TOKEN: 'milo_wrong' })
    assert.equal(bad.status, 1)
    assert.match(bad.stderr, /answered 401: give a token that may read in MILO_EXPORT_TOKEN/)
    assert.ok(!`${good.stderr}${bad.stderr}`.includes('milo_'))
    await c.close()
  })

  it('goes on after it has been killed in the middle of a part', async () => {
    const [to, expected] = [temporaryDirectory(), temporaryDirectory()]
    const reader = openEmbeddedHours(path, 'shop:2100')
    await exportHours(reader, new Folder(expected), AN_HOUR, options({ compress: 'gzip' }))
    await reader.close()
    for (let killed = 0; killed < 2; ) {
      const program = new Program(
        process.execPath,
        [BIN, 'export', '--hours', HOURS, '--to', to, '--compress', 'gzip'],
        {
          MILO_COLLECTOR_EMBEDDED_PATH: path,
          MILO_COLLECTOR_ID: 'shop:2100',
        },
      )
      await until(
        'a part is begun, or all is done',
        () => program.ended || readdirSync(to).some(name => name.endsWith('.partial')),
      )
      await program.stop('SIGKILL')
      killed++
    }
    assert.equal((await run(['--hours', HOURS, '--to', to, '--compress', 'gzip'])).status, 0)
    const files = filesIn(to)
    for (const name of files.keys()) if (name.endsWith('.partial')) files.delete(name)
    assert.deepEqual(files, filesIn(expected))
  })

  it('says when the disk is full, and goes on once there is room', async function () {
    const [to, copies] = [join(temporaryDirectory(), 'disk'), temporaryDirectory()]
    mkdirSync(to)
    // A disk of its own for each process, which goes with it.
    const own = (megabytes: number, then: string) => [
      'unshare',
      '--mount',
      'sh',
      '-c',
      `mount -t tmpfs -o size=${megabytes}m none '${to}' && ${then}`,
    ]
    try {
      execFileSync('unshare', own(1, 'true').slice(1), { stdio: 'ignore' })
    } catch {
      // Not allowed here.
      this.skip()
    }
    const args = `'${process.execPath}' '${BIN}' export --hours '${HOURS}' --to '${to}'`
    const script = `${args}; echo status $?; ls -A '${to}'; mount -o remount,size=20m '${to}' && ${args} && cp '${to}'/* '${copies}'`
    const { stdout, stderr } = await run([], {}, own(1, script))
    assert.match(stderr, /disk: the disk is full: make room \(ENOSPC\)\. Whole files stay: the same command goes on/)
    assert.equal(stdout, 'status 1\n', stderr)
    assert.deepEqual(recordsIn(filesIn(copies)), records)
  })
})
