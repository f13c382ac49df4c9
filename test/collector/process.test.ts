import assert from 'node:assert/strict'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { createToken } from '../../collector/src/auth/credentials'
import { EmbeddedFile } from '../../collector/src/store/embedded/file'
import { openStore } from '../../collector/src/store/open'
import { MessageType } from '../../src/codec/binary'
import { encodeRecord } from '../../src/codec/span'
import { ROOT } from '../helpers/child'
import { Program } from '../helpers/programs'
import { until } from '../helpers/until'
import { callFrame, cleanUp, hex, Peer, randomId, span, temporaryDirectory, undo } from './support'

const BIN = join(ROOT, 'collector/bin/milo-collector.js')

function start(args: string[], env: NodeJS.ProcessEnv = {}): Program {
  const program = new Program(process.execPath, [BIN, ...args], env)
  cleanUp.push(() => program.stop('SIGKILL'))
  return program
}

interface Running {
  program: Program
  scribePort: number
  url: string
}

/** The real program on free ports and the embedded store in `path`. */
async function startOn(path: string, env: NodeJS.ProcessEnv = {}): Promise<Running> {
  const program = start([], {
    MILO_COLLECTOR_PORT: '0',
    MILO_COLLECTOR_HTTP_PORT: '0',
    MILO_COLLECTOR_EMBEDDED_PATH: path,
    ...env,
  })
  const lines = await until('the collector is ready', () => {
    const logged = logLines(program)
    const ready = logged.some(line => line.msg === 'ready')
    if (!ready) program.mustRun()
    return ready ? logged : undefined
  })
  const port = (listener: string) => lines.find(line => line.listener === listener)!.port as number
  return { program, scribePort: port('scribe'), url: `http://127.0.0.1:${port('http')}` }
}

function logLines({ stderr }: { stderr: string }): Record<string, unknown>[] {
  // The last piece may be half a line.
  const lines = stderr.split('\n').slice(0, -1)
  return lines.map(line => JSON.parse(line))
}

/** Runs a program that ends by itself; beside others, as it may take half a second to start. */
async function finish(args: string[], env: NodeJS.ProcessEnv = {}, input = ''): Promise<Finished> {
  const program = start(args, env)
  program.child.stdin!.on('error', () => {}).end(input)
  const [status] = await once(program.child, 'close')
  return { args: args.join(' '), status, stdout: program.stdout, stderr: program.stderr }
}

interface Finished {
  args: string
  status: number | null
  stdout: string
  stderr: string
}

async function ended(program: Program): Promise<number | null> {
  await until('the program ends', () => program.ended)
  return program.child.exitCode
}

/** The span ids that the collector has of a trace, in decimal. */
async function storedIds(url: string, traceId: bigint): Promise<Set<string>> {
  const response = await fetch(`${url}/api/traces/${hex(traceId)}?form=records`)
  if (response.status === 404) return new Set()
  const { records } = (await response.json()) as { records: { id: string }[] }
  return new Set(records.map(({ id }) => id))
}

describe('milo-collector', () => {
  afterEach(undo)

  it('takes spans, shows them, and ends with status 0 on SIGTERM and on SIGINT', async () => {
    const path = join(temporaryDirectory(), 'milo.db')
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const { program, scribePort, url } = await startOn(path)
      await until('it says what to open', () =>
        logLines(program).some(({ msg }) => msg === `open ${url}/ in a browser`),
      )
      const sent = span()
      assert.equal(await new Peer(scribePort).log(sent), 0)
      assert.deepEqual(await storedIds(url, sent.traceId), new Set([String(sent.id)]))
      assert.equal(await program.stop(signal), 0)
      assert.equal(logLines(program).at(-1)!.msg, 'stopped')
      assert.equal(program.stdout, '')
    }
  })

  it('reads its configuration from a file', async () => {
    const directory = temporaryDirectory()
    const file = join(directory, 'collector.yaml')
    writeFileSync(
      file,
      `collector_port: [0, 0]\nhttp: { port: 0 }\nembedded: { path: ${directory}/x.db }\ncollector_min_workers: 64\n`,
    )
    const program = start(['--config', file])
    await until('it is ready', () => program.stderr.includes('"ready"'))
    const lines = logLines(program)
    assert.equal(lines.filter(line => line.listener === 'scribe').length, 2)
    assert.match(String(lines[0]!.msg), /collector_min_workers has no effect/)
    assert.equal(await program.stop(), 0)
  })

  it('ends with one line and the remedy where its file can not be made', async () => {
    const paths = ['/dev/null/milo.db', ...(process.platform === 'linux' ? ['/proc/milo/x/milo.db'] : [])]
    for (const run of await Promise.all(paths.map(path => finish([], { MILO_COLLECTOR_EMBEDDED_PATH: path })))) {
      assert.equal(run.status, 1)
      const [line, ...others] = logLines(run)
      assert.deepEqual(others, [])
      assert.match(String(line!.msg), /milo\.db can't be opened \(.*\): give embedded\.path a file in a folder/)
    }
  })

  it('refuses bad configuration with status 2 and one line for each problem, and no stack', async () => {
    const file = join(temporaryDirectory(), 'collector.yaml')
    writeFileSync(file, 'colector_port: 2100\ncassandra: { port: 9160 }\nmysql: { pasword: hunter2 }\n')
    const expected = new Set([
      'milo-collector: MILO_COLLECTOR_STORE: "sqlite" is not a store: give embedded, cassandra-mysql or scribe',
      `milo-collector: ${file}: cassandra.port: 9160 is Cassandra's old Thrift port: give the port of its native protocol, by default 9042`,
      `milo-collector: ${file}: colector_port: no such key (value 2100); did you mean collector_port?`,
      `milo-collector: ${file}: mysql.pasword: no such key (value (hidden)); did you mean mysql.password?`,
    ])
    const commands = [
      ['--config', file],
      ['migrate', '--config', file],
    ]
    for (const run of await Promise.all(commands.map(args => finish(args, { MILO_COLLECTOR_STORE: 'sqlite' })))) {
      assert.equal(run.status, 2, run.args)
      const problems = run.stderr.trimEnd().split('\n')
      assert.deepEqual(new Set(problems), expected)
      assert.equal(problems.length, expected.size)
    }
  })

  it('refuses a command line that it does not understand with status 2, and explains itself with status 0', async () => {
    const expected: [args: string[], status: number, said: RegExp][] = [
      [['--confg', 'x'], 2, /unknown option '--confg'/],
      [['--config'], 2, /argument missing/],
      [['migrat'], 2, /unknown command 'migrat'; did you mean migrate\?.*--help/s],
      [['help', 'expor'], 2, /unknown command 'expor'; did you mean export\?/],
      [['help', 'export'], 0, /Usage: milo-collector export .*--query/s],
      [['export', '--from', 'notatime'], 2, /"from:notatime": from is not a time: give/],
      [['export', '--query', 'duration>x'], 2, /"duration>x": duration> needs a duration: give/],
      [['export', '--output', ''], 2, /--output <file>.*it is empty/],
      [['import', ''], 2, /'file'.*it is empty/],
      [['help'], 0, /Usage: milo-collector .*migrate/s],
      [['version'], 2, /did you mean --version\?/],
      [['--config', '/nonexistent.yaml'], 2, /nonexistent.yaml: can't be read \(ENOENT\)/],
      [['--help'], 0, /Usage: milo-collector .*migrate/s],
      [['--version'], 0, /^\d+\.\d+\.\d+/],
    ]
    const runs = await Promise.all(expected.map(([args]) => finish(args)))
    for (const [i, [, status, said]] of expected.entries()) {
      const run = runs[i]!
      assert.equal(run.status, status, run.args)
      assert.match(run.stderr, said)
      assert.equal(run.stdout, '')
    }
  })

  it('ends with status 1 and the remedy when a port is taken, or the store', async () => {
    const path = join(temporaryDirectory(), 'milo.db')
    const { scribePort } = await startOn(path)
    const env = { MILO_COLLECTOR_PORT: '0', MILO_COLLECTOR_HTTP_PORT: '0', MILO_COLLECTOR_EMBEDDED_PATH: path }
    const other = { ...env, MILO_COLLECTOR_EMBEDDED_PATH: join(temporaryDirectory(), 'milo.db') }
    const [second, third] = await Promise.all([
      finish([], env),
      finish([], { ...other, MILO_COLLECTOR_PORT: String(scribePort) }),
    ])
    assert.deepEqual([second.status, third.status], [1, 1])
    assert.match(String(logLines(second).at(-1)!.msg), /milo\.db/)
    assert.match(String(logLines(third).at(-1)!.msg), /^collector_port: can't listen on .* give another port$/)
  })

  it('makes the schema with migrate, which may run again', async () => {
    const path = join(temporaryDirectory(), 'milo.db')
    for (let i = 0; i < 2; i++) {
      const program = start(['migrate'], { MILO_COLLECTOR_EMBEDDED_PATH: path })
      assert.equal(await ended(program), 0)
      assert.equal(logLines(program).at(-1)!.msg, 'the schema is up to date')
    }
    const { program } = await startOn(path)
    assert.equal(await program.stop(), 0)
  })

  it('loads its configuration again on SIGHUP, says what needs a restart, and keeps what it has when it is bad', async () => {
    const directory = temporaryDirectory()
    const file = join(directory, 'collector.yaml')
    const base = `collector_port: 0\nembedded: { path: ${directory}/x.db }\n`
    const { token, line } = createToken('me', 'full')
    writeFileSync(file, `${base}http: { port: 0 }\n`)
    const program = start(['--config', file])
    const said = (text: string) =>
      until(`it says ${text}`, () => logLines(program).find(({ msg }) => String(msg).includes(text)))
    await said('ready')
    const port = logLines(program).find(({ listener }) => listener === 'http')!.port
    const status = (headers: Record<string, string> = {}) =>
      fetch(`http://127.0.0.1:${port}/api/status`, { headers }).then(response => response.status)
    assert.equal(await status(), 200)

    writeFileSync(file, `${base}http: { port: 0, tokens: ["${line}"] }\nretention_days: 3\n`)
    program.child.kill('SIGHUP')
    await said('the configuration was reloaded')
    assert.deepEqual((await said('take effect only after a restart')).keys, ['retention_days'])
    assert.deepEqual([await status(), await status({ authorization: `Bearer ${token}` })], [401, 200])

    writeFileSync(file, 'htpp: 1\n')
    program.child.kill('SIGHUP')
    const [problem] = (await said('was not reloaded')).problems as string[]
    assert.match(problem!, /htpp: no such key/)
    assert.equal(await status({ authorization: `Bearer ${token}` }), 200)
    assert.equal(await program.stop(), 0)
  })

  it('goes on starting when SIGHUP comes while it loads', async () => {
    const folder = temporaryDirectory()
    const preload = join(folder, 'hang-up.cjs')
    writeFileSync(
      preload,
      `const Module = require('node:module')
       const load = Module._load
       Module._load = function (request, ...rest) {
         if (request === '../dist/main.js') process.kill(process.pid, 'SIGHUP')
         return load.call(this, request, ...rest)
       }`,
    )
    const { program } = await startOn(join(folder, 'milo.db'), { NODE_OPTIONS: `--require ${preload}` })
    assert.equal(await program.stop(), 0)
  })

  it('indexes by other settings from SIGHUP on, and refuses at once to search for what it no longer indexes', async () => {
    const directory = temporaryDirectory()
    const file = join(directory, 'collector.yaml')
    const index = (settings: string) =>
      writeFileSync(file, `collector_port: 0\nhttp: { port: 0 }\nembedded: { path: ${directory}/x.db }\n${settings}\n`)
    index('index: { deny: [secret] }')
    const program = start(['--config', file])
    const said = (text: string) => logLines(program).filter(({ msg }) => msg === text)
    await until('it is ready', () => said('ready').length === 1)
    const port = (listener: string) => said('listening').find(line => line.listener === listener)!.port as number
    const found = async (query: string) => {
      const response = await fetch(`http://127.0.0.1:${port('http')}/api/search?q=${encodeURIComponent(query)}`)
      const answer = await response.json()
      return response.ok ? (answer.traces as { traceId: string }[]).map(({ traceId }) => traceId).sort() : answer.code
    }
    const store = async () => {
      const sent = span({ annotations: new Map([...['open', 'secret'].map(key => [key, 'x'] as const)]) })
      assert.equal(await new Peer(port('scribe')).log(sent), 0)
      return hex(sent.traceId)
    }
    const older = await store()
    await until('the span is found', async () => (await found('open=x')).length === 1)
    assert.equal(await found('secret=x'), 'MILO_NOT_INDEXED')

    index('index: { deny: [open] }')
    program.child.kill('SIGHUP')
    await until('it has reloaded', () => said('the configuration was reloaded').length === 1)
    assert.equal(await found('open=x'), 'MILO_NOT_INDEXED')
    const younger = await store()
    await until('the younger span is found', async () => (await found('secret=x')).length > 0)
    assert.deepEqual(await found('secret=x'), [younger])
    assert.deepEqual(await found(''), [older, younger].sort())
    assert.equal(said('these settings have changed and take effect only after a restart').length, 0)
    assert.equal(await program.stop(), 0)
  })

  it('stops while it waits for databases that do not answer, and at once on a second signal', async () => {
    const stop = async (signals: readonly NodeJS.Signals[]) => {
      let connections = 0
      const mute = createServer(() => connections++).listen(0, '127.0.0.1')
      cleanUp.push(() => mute.close())
      await once(mute, 'listening')
      const { port } = mute.address() as AddressInfo
      const program = start([], {
        MILO_COLLECTOR_PORT: '0',
        MILO_COLLECTOR_HTTP_PORT: '0',
        MILO_COLLECTOR_STORE: 'cassandra-mysql',
        MILO_COLLECTOR_CASSANDRA_PORT: `${port}`,
        MILO_COLLECTOR_MYSQL_PORT: `${port}`,
      })
      await until('it waits for an answer', () => connections > 0)
      for (const signal of signals) {
        program.child.kill(signal)
        await until('the signal is there', () => program.stderr.includes('"stopping"') || program.ended)
      }
      assert.equal(await ended(program), signals.length - 1)
      const last = signals.length === 1 ? 'stopped before it had started' : 'stopping'
      assert.equal(logLines(program).at(-1)!.msg, last)
    }
    await Promise.all([stop(['SIGTERM']), stop(['SIGINT', 'SIGTERM'])])
  })

  it("stops on fb303's shutdown where the configuration allows it", async () => {
    const { program, scribePort } = await startOn(join(temporaryDirectory(), 'milo.db'), {
      MILO_COLLECTOR_FB303_ALLOW_SHUTDOWN: 'true',
    })
    new Peer(scribePort).send(callFrame('shutdown', { type: MessageType.ONEWAY }))
    assert.equal(await ended(program), 0)
    assert.equal(logLines(program).at(-1)!.msg, 'stopped')
  })

  it('makes passwords and tokens that it takes, and shows a password nowhere', async () => {
    const [hashing, making, ...refused] = await Promise.all([
      finish(['hash-password', 'anna'], {}, 'correct horse\n'),
      finish(['token', 'grafana', '--scope', 'read']),
      finish(['hash-password', 'a:b'], {}, 'correct horse\n'),
      finish(['hash-password', 'anna'], {}, 'short\n'),
      finish(['hash-password', 'anna']),
      finish(['token', 'x', '--scope', 'everything']),
    ])
    for (const { args, status, stdout, stderr } of refused) {
      assert.equal(status, 2, args)
      assert.equal(stdout, '')
      assert.ok(stderr.length > 10)
    }
    assert.equal(hashing.status, 0)
    const user = hashing.stdout.trim()
    assert.doesNotMatch(hashing.stderr + user, /horse/)
    const [, token, line] = /once: (\S+)\n.*: +(\S+)\n$/.exec(making.stdout)!
    const { program, url } = await startOn(join(temporaryDirectory(), 'milo.db'), {
      MILO_COLLECTOR_HTTP_HOST: '0.0.0.0',
      MILO_COLLECTOR_HTTP_USERS: user,
      MILO_COLLECTOR_HTTP_TOKENS: line!,
    })
    const status = (authorization: string) =>
      fetch(`${url}/api/search`, { headers: { authorization } }).then(response => response.status)
    assert.equal(await status(`Basic ${Buffer.from('anna:correct horse').toString('base64')}`), 200)
    assert.equal(await status(`Bearer ${token}`), 200)
    assert.equal(await status('Bearer nonsense'), 401)
    assert.equal(await program.stop(), 0)
  })

  it('exports traces, which another imports, in either form; and takes raw records, and the formats of others', async () => {
    const directory = temporaryDirectory()
    const path = join(directory, 'milo.db')
    const first = await startOn(path)
    const sent = Array.from({ length: 300 }, (_, i) =>
      span({ name: i % 2 ? 'odd' : 'even', annotations: new Map([['n', `${i}`]]) }),
    )
    assert.equal(await new Peer(first.scribePort).log(...sent), 0)
    assert.equal(await first.program.stop(), 0)

    const command = async (args: string[], path: string) => {
      const { status, stdout, stderr } = await finish(args, { MILO_COLLECTOR_EMBEDDED_PATH: path })
      return { status, stdout, said: JSON.parse(stderr.trimEnd().split('\n').at(-1)!) }
    }
    // A store has one process at a time: each of those that run side by side has a copy.
    const exporting = (...args: string[]) => {
      const copy = join(mkdtempSync(join(directory, 'copy-')), 'milo.db')
      copyFileSync(path, copy)
      return command(['export', ...args], copy)
    }
    const [all, odd, few, young, typo] = await Promise.all([
      exporting('--output', join(directory, 'all.ndjson')),
      exporting('--query', 'name:odd', '--form', 'milo'),
      exporting('--limit', '7'),
      exporting('--from', '-1h'),
      exporting('--query', 'nmae:odd'),
    ])
    assert.deepEqual([all.status, all.said.traces, all.said.spans, all.stdout], [0, 300, 300, ''])
    assert.equal(JSON.parse(odd.stdout).records.length, 150)
    assert.equal(few.stdout.trimEnd().split('\n').length, 7)
    assert.match(young.said.query, /last 1h/)
    assert.deepEqual([typo.status, typo.stdout, typo.said.query], [0, '', 'nmae:odd'])
    assert.match(typo.said.msg, /no trace matches/)

    writeFileSync(join(directory, 'odd.json'), odd.stdout)
    writeFileSync(
      join(directory, 'raw'),
      Buffer.concat([encodeRecord(span()), Buffer.from('noise'), encodeRecord(span())]),
    )
    writeFileSync(
      join(directory, 'zipkin.json'),
      '[\n{"traceId": "000000000000000a", "id": "000000000000000b"},\n{"id": "1"}\n]',
    )
    const files = ['all.ndjson', 'odd.json', 'raw', 'zipkin.json'].map(name => join(directory, name))
    const other = join(directory, 'other.db')
    const [imported, overwriting] = await Promise.all([
      command(['import', ...files], other),
      exporting('--output', join(directory, 'all.ndjson')),
    ])
    assert.equal(overwriting.status, 1)
    assert.deepEqual([imported.status, imported.said.spans], [0, 300 + 150 + 2 + 1])
    const again = await startOn(other)
    for (const { traceId, id } of sent) assert.deepEqual(await storedIds(again.url, traceId), new Set([String(id)]))
    // The file is taken: by the collector.
    assert.equal((await command(['export'], other)).status, 1)
    assert.equal(await again.program.stop(), 0)

    writeFileSync(join(directory, 'bad.json'), '{"spans": 1}')
    const bad = command(['import', join(directory, 'bad.json')], other)
    // What fails leaves nothing behind: neither a store where there was none, nor half a file.
    const failing = [
      ['export', '--output', join(directory, 'none.ndjson')],
      ['import', join(directory, 'bad.json')],
      ['import', join(directory, 'nowhere.json')],
    ].map((args, i) => command(args, join(directory, `none-${i}.db`)))
    for (const { status, said } of await Promise.all([bad, ...failing]))
      assert.deepEqual([status, said.err], [1, undefined])
    assert.match((await bad).said.msg, /bad\.json: there should be Milo's records .*; nothing of it is stored/)
    assert.deepEqual(
      readdirSync(directory).filter(name => name.startsWith('none') || name.endsWith('.partial')),
      [],
    )
  })

  it('verifies an embedded store: it repairs the index unless that is forbidden, and fails while something is wrong', async () => {
    const path = join(temporaryDirectory(), 'milo.db')
    const env = { MILO_COLLECTOR_EMBEDDED_PATH: path }
    const missing = await finish(['verify'], env)
    assert.deepEqual([missing.status, /no store was found at/.test(missing.stderr)], [1, true])
    const store = await openStore({ store: 'embedded', embedded: { path } } as never)
    await store.append([{ body: encodeRecord(span({ name: 'verified' })), spans: 1 }])
    await store.close()
    const file = new EmbeddedFile(path, () => {})
    file.background(() => file.sql.deleteChunks.run([0n, 2n ** 62n, 1n]))
    file.close()
    for (const [args, status, repaired] of [
      [['verify', '--dry-run'], 1, false],
      [['verify'], 0, true],
    ] as const) {
      const done = await finish([...args], env)
      assert.equal(done.status, status, done.stderr)
      const finding = JSON.parse(done.stdout)
      assert.deepEqual([finding.where, finding.repaired], ['part 1 of the index', repaired])
    }
    const good = await finish(['verify'], env)
    assert.deepEqual([good.status, good.stdout, /nothing is wrong/.test(good.stderr)], [0, '', true])
  })

  it('shows what was put aside, gives it to the store once more, and drops it', async () => {
    const path = join(temporaryDirectory(), 'milo.db')
    const env = { MILO_COLLECTOR_EMBEDDED_PATH: path }
    const missing = await finish(['quarantine', 'list'], env)
    assert.deepEqual([missing.status, /no store was found at/.test(missing.stderr)], [1, true])
    const record = span({ name: 'put aside' })
    const file = new EmbeddedFile(path, () => {})
    for (const [start, body] of [encodeRecord(record), Buffer.from('nonsense')].entries()) {
      file.sql.insertQuarantine.run([7n, BigInt(start), 'it was too long', body, 1_790_000_000_000_000n, 0n])
    }
    file.close()
    const list = async () => (await finish(['quarantine', 'list'], env)).stdout.trim().split('\n').filter(Boolean)
    const [first, second, ...rest] = (await list()).map(line => JSON.parse(line))
    assert.deepEqual(rest, [])
    assert.deepEqual(
      [first.id, first.received, first.reason, second.id, second.bytes],
      ['7/0', '2026-09-21T14:13:20.000Z', 'it was too long', '7/1', 8],
    )
    const retried = await finish(['quarantine', 'retry', '--all'], env)
    const { stored, refused, unreadable } = logLines(retried).at(-1)!
    assert.deepEqual([retried.status, stored, refused, unreadable], [0, 1, 0, 1], retried.stderr)
    assert.deepEqual((await list()).length, 1)
    const exported = await finish(['export'], env)
    assert.match(exported.stdout, /put aside/)
    for (const [args, status, problem] of [
      [['drop'], 2, /takes either the ids of records or --all/],
      [['list', '7/1'], 2, /leave out ids/],
      [['burn'], 2, /Allowed choices are list, retry, drop/],
      [['drop', '7/0'], 1, /no record .*7\/0.* is in quarantine/],
      [['drop', '7/1', '7/1'], 0, /dropped/],
    ] as const) {
      const done = await finish(['quarantine', ...args], env)
      assert.deepEqual([done.status, problem.test(done.stderr)], [status, true], `${args}: ${done.stderr}`)
    }
    assert.deepEqual(await list(), [])
  })

  it('says what migrate would do, without doing it, and that an embedded store needs no replay', async () => {
    const path = join(temporaryDirectory(), 'milo.db')
    const env = { MILO_COLLECTOR_EMBEDDED_PATH: path }
    const [dry, replay] = await Promise.all([
      finish(['migrate', '--dry-run'], env),
      finish(['replay', '--collector', 'x'], env),
    ])
    assert.equal(dry.status, 0)
    assert.equal(existsSync(path), false)
    assert.equal(replay.status, 1)
    assert.match(String(logLines(replay).at(-1)!.msg), /set store to cassandra-mysql/)
  })

  it('answers every call that it has taken when SIGTERM comes, and keeps what it answered OK', async () => {
    const path = join(temporaryDirectory(), 'milo.db')
    const { program, scribePort } = await startOn(path)
    const traceId = randomId()
    const acknowledged = new Set<string>()
    const senders = Array.from({ length: 4 }, () =>
      sendUntilClosed(
        scribePort,
        () => traceId,
        id => acknowledged.add(id),
      ),
    )
    await until('some calls are answered', () => acknowledged.size > 200)
    assert.equal(await program.stop(), 0)
    await Promise.all(senders)
    const again = await startOn(path)
    const stored = await storedIds(again.url, traceId)
    assert.deepEqual(
      [...acknowledged].filter(id => !stored.has(id)),
      [],
    )
    assert.equal(await again.program.stop(), 0)
  })

  it('loses no span that it answered OK when it is killed at a random moment', async () => {
    const seed = Number(process.env.MILO_TEST_SEED ?? Date.now() % 1_000_000)
    console.log(`      MILO_TEST_SEED=${seed}`)
    // A linear congruential generator (Numerical Recipes): good enough for moments, and the same for the same seed.
    let state = seed
    const random = (n: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return Math.floor((state / 2 ** 32) * n)
    }
    const path = join(temporaryDirectory(), 'milo.db')
    const acknowledged = new Map<bigint, Set<string>>()
    let next = startOn(path)
    for (let round = 0; round < 5; round++) {
      const { program, scribePort } = await next
      const traceIds = Array.from({ length: 10 }, randomId)
      for (const traceId of traceIds) acknowledged.set(traceId, new Set())
      let count = 0
      // A number of answers, then a moment within what follows them.
      const killAfter = 1 + random(1500)
      const delayMs = random(20)
      const senders = Array.from({ length: 4 }, (_, i) =>
        sendUntilClosed(
          scribePort,
          n => traceIds[(n + i) % traceIds.length]!,
          (id, traceId) => {
            acknowledged.get(traceId)!.add(id)
            if (++count === killAfter) setTimeout(() => program.child.kill('SIGKILL'), delayMs)
          },
        ),
      )
      await Promise.all(senders)
      assert.equal(await program.stop(), null)
      assert.ok(count >= killAfter)

      // It is killed in the next round: each begins on a file that nobody closed.
      next = startOn(path)
      const { url } = await next
      for (const [traceId, ids] of acknowledged) {
        const stored = await storedIds(url, traceId)
        const lost = [...ids].filter(id => !stored.has(id))
        assert.deepEqual(lost, [], `of trace ${hex(traceId)}, in round ${round} with seed ${seed}`)
      }
    }
    await (await next).program.stop('SIGKILL')
  })
})

/** Calls Log with one to three spans each, eight calls at a time, until the connection closes. */
async function sendUntilClosed(
  port: number,
  traceOf: (n: number) => bigint,
  acknowledge: (id: string, traceId: bigint) => void,
): Promise<void> {
  const peer = new Peer(port)
  let n = 0
  const lane = async () => {
    for (;;) {
      const traceId = traceOf(n++)
      const spans = Array.from({ length: 1 + (n % 3) }, () => span({ traceId }))
      const code = await peer.log(...spans).catch(() => undefined)
      if (code === undefined) return
      assert.equal(code, 0)
      for (const { id } of spans) acknowledge(String(id), traceId)
    }
  }
  await Promise.all([...Array.from({ length: 8 }, lane), peer.closed])
}
