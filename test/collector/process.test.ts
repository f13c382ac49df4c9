import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../helpers/child'
import { Program } from '../helpers/programs'
import { until } from '../helpers/until'
import { cleanUp, hex, Peer, randomId, span, temporaryDirectory, undo } from './support'

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

function logLines({ stderr }: Program): Record<string, unknown>[] {
  // The last piece may be half a line.
  const lines = stderr.split('\n').slice(0, -1)
  return lines.map(line => JSON.parse(line))
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
    assert.match(String(lines[0]!.msg), /collector_min_workers means nothing any more/)
    assert.equal(await program.stop(), 0)
  })

  it('refuses bad configuration with status 2 and one line for each problem, and no stack', async () => {
    const file = join(temporaryDirectory(), 'collector.yaml')
    writeFileSync(file, 'colector_port: 2100\ncassandra: { port: 9160 }\nmysql: { pasword: hunter2 }\n')
    const expected = new Set([
      'milo-collector: MILO_COLLECTOR_STORE: "sqlite" is not a store: give embedded or cassandra-mysql',
      `milo-collector: ${file}: cassandra.port: 9160 is Cassandra's old Thrift port: give the native protocol's, 9042 unless you changed it`,
      `milo-collector: ${file}: colector_port: no such key (value 2100); did you mean collector_port?`,
      `milo-collector: ${file}: mysql.pasword: no such key (value (hidden)); did you mean mysql.password?`,
    ])
    for (const args of [
      ['--config', file],
      ['migrate', '--config', file],
    ]) {
      const program = start(args, { MILO_COLLECTOR_STORE: 'sqlite' })
      assert.equal(await ended(program), 2)
      const problems = program.stderr.trimEnd().split('\n')
      assert.deepEqual(new Set(problems), expected)
      assert.equal(problems.length, expected.size)
    }
  })

  it('refuses a command line that it does not understand with status 2, and explains itself with status 0', async () => {
    for (const [args, status, said] of [
      [['--confg', 'x'], 2, /unknown option '--confg'/],
      [['--config'], 2, /argument missing/],
      [['migrat'], 2, /too many arguments.*--help/s],
      [['--config', '/nonexistent.yaml'], 2, /nonexistent.yaml: can't be read \(ENOENT\)/],
      [['--help'], 0, /Usage: milo-collector .*migrate/s],
      [['--version'], 0, /^\d+\.\d+\.\d+/],
    ] as const) {
      const program = start([...args])
      assert.equal(await ended(program), status, args.join(' '))
      assert.match(program.stderr, said)
      assert.equal(program.stdout, '')
    }
  })

  it('ends with status 1 and the remedy when a port is taken, or the store', async () => {
    const path = join(temporaryDirectory(), 'milo.db')
    const { scribePort } = await startOn(path)
    const env = { MILO_COLLECTOR_PORT: '0', MILO_COLLECTOR_HTTP_PORT: '0', MILO_COLLECTOR_EMBEDDED_PATH: path }
    const second = start([], env)
    assert.equal(await ended(second), 1)
    assert.match(String(logLines(second).at(-1)!.msg), /milo\.db/)
    const other = { ...env, MILO_COLLECTOR_EMBEDDED_PATH: join(temporaryDirectory(), 'milo.db') }
    const third = start([], { ...other, MILO_COLLECTOR_PORT: String(scribePort) })
    assert.equal(await ended(third), 1)
    assert.match(String(logLines(third).at(-1)!.msg), /^collector_port: can't listen on .* give another port$/)
  })

  it('makes the schema with migrate, as often as one likes', async () => {
    const path = join(temporaryDirectory(), 'milo.db')
    for (let i = 0; i < 2; i++) {
      const program = start(['migrate'], { MILO_COLLECTOR_EMBEDDED_PATH: path })
      assert.equal(await ended(program), 0)
      assert.equal(logLines(program).at(-1)!.msg, 'the schema is up to date')
    }
    const { program } = await startOn(path)
    assert.equal(await program.stop(), 0)
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

  it('loses no span that it answered OK when it is killed at a random moment', async function () {
    this.timeout(60_000)
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
    for (let round = 0; round < 5; round++) {
      const { program, scribePort } = await startOn(path)
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

      const again = await startOn(path)
      for (const [traceId, ids] of acknowledged) {
        const stored = await storedIds(again.url, traceId)
        const lost = [...ids].filter(id => !stored.has(id))
        assert.deepEqual(lost, [], `of trace ${hex(traceId)}, in round ${round} with seed ${seed}`)
      }
      // Killed too, so that the next round begins on a file that nobody closed.
      await again.program.stop('SIGKILL')
    }
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
