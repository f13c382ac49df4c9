import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { Client } from 'cassandra-driver'
import { scanRecords } from '../../collector/src/record/records'
import { collectorNumber, spanRows } from '../../collector/src/store/cassandra-mysql/span-rows'
import { hash64 } from '../../collector/src/store/hash64'
import { encodeRecord } from '../../src/codec/span'
import { ROOT } from '../helpers/child'
import { generateTrace } from '../helpers/generated-trace'
import { type CassandraServer, type SharedServer, startCassandra } from '../servers'
import { type HdfsServer, startYarn } from '../servers/hadoop'
import { installSpark, type Spark } from '../servers/spark'

/**
 * examples/hadoop as its readers run it: the same hours by a pipe, by Hadoop Streaming and by PySpark give the same results, to the
 * last byte, also when the first process of each step is killed half way.
 */

const HOURS = '2026-11-30T10..2026-11-30T11'
const FROM_US = Date.parse('2026-11-30T10:00:00Z') * 1000
const HOUR_US = 3600e6
const TRACES = 60
const COLLECTORS = ['collector-a', 'collector-b']
const EXAMPLES = join(ROOT, 'examples/hadoop')
const KEYSPACE = `milo_engines_${process.pid}`

describe('engines of offline analysis', function () {
  this.timeout(180_000)
  const folder = mkdtempSync(join(tmpdir(), 'milo-engines-'))
  const milo = join(folder, 'milo')
  let cluster: HdfsServer
  let spark: Spark
  let cassandra: SharedServer<CassandraServer>
  let expected: string

  before(async function () {
    this.timeout(600_000)
    const started = Promise.all([startYarn(), installSpark(), startCassandra()])
    writeFileSync(milo, MILO)
    chmodSync(milo, 0o755)
    const messages = await makeInput(join(folder, 'input'))
    expected = await pipe()
    ;[cluster, spark, cassandra] = await started
    await fillCassandra(cassandra, messages)
  })
  after(async () => {
    await cluster?.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  /** Runs one of the examples with milo-collector as `milo`. @returns what it wrote, and what it said meanwhile */
  async function example(file: string, args: string[], env: NodeJS.ProcessEnv = {}) {
    const options = { env: { ...process.env, MILO_COLLECTOR: milo, ...env }, cwd: folder, maxBuffer: 1 << 26 }
    return await promisify(execFile)(file, args, options)
  }

  /** Each step's first process that has this environment is killed after some lines, and what it wrote must not count. */
  function killed(name: string): NodeJS.ProcessEnv {
    const once = join(folder, name)
    mkdirSync(once)
    return { MILO_TEST_KILLED: once }
  }

  async function pipe(): Promise<string> {
    const input = ['a.tsv', 'b.tsv.gz'].map(name => join(folder, 'input', name))
    return (await example(join(EXAMPLES, 'pipe.sh'), [HOURS, ...input])).stdout
  }

  const hadoop = (env: NodeJS.ProcessEnv = {}) => ({
    PATH: `${cluster.bin}:${process.env.PATH}`,
    HADOOP_STREAMING: cluster.streaming,
    REDUCERS: '2',
    ...env,
  })

  it('leave out what began before and after the hours', () => {
    const [window] = expected.split('\n', 1).map(line => JSON.parse(line))
    assert.equal(window.kind, 'window')
    assert.equal(window.traces, TRACES)
    assert.ok(expected.split('\n').length > 10, expected)
    assert.equal(JSON.parse(expected.trimEnd().split('\n').at(-1)!).kind, 'end')
  })

  it('a pipe takes a folder for its files, and writes nothing unless every step has come to its end', async () => {
    const pipe = (input: string, env: NodeJS.ProcessEnv = {}) =>
      example(join(EXAMPLES, 'pipe.sh'), [HOURS, input], env).catch(error => error)
    assert.equal((await pipe(join(folder, 'input'))).stdout, expected)
    const [cut, empty] = [join(folder, 'cut.tsv.gz'), join(folder, 'empty')]
    writeFileSync(cut, readFileSync(join(folder, 'input/b.tsv.gz')).subarray(0, -500))
    mkdirSync(empty)
    const [damaged, died, nothing, nowhere] = await Promise.all([
      pipe(cut),
      pipe(join(folder, 'input'), killed('pipe')),
      pipe(empty),
      pipe(join(folder, 'nowhere')),
    ])
    for (const { code, stdout } of [damaged, died, nothing, nowhere]) assert.deepEqual([code > 0, stdout], [true, ''])
    assert.match(nothing.stderr, /no files in .*empty: run milo-collector export --hours/)
    assert.match(nowhere.stderr, /nowhere doesn't exist: give files or folders/)
  })

  it('agree: Hadoop Streaming on files of this machine', async () => {
    const args = ['-fs', 'file:///', '-jt', 'local', HOURS, join(folder, 'input'), join(folder, 'output')]
    const { stdout } = await example(join(EXAMPLES, 'streaming.sh'), args, hadoop())
    assert.equal(stdout, expected)
  })

  it('agree: Hadoop Streaming on HDFS and YARN, with a mapper and a reducer that are killed', async () => {
    const env = hadoop({ HADOOP_CONF_DIR: cluster.conf })
    await example('hadoop', ['fs', '-put', join(folder, 'input'), '/input'], env)
    const { MILO_TEST_KILLED } = killed('yarn')
    const kills = ['mapreduce.map.env', 'mapreduce.reduce.env'].flatMap(name => [
      '-D',
      `${name}=MILO_TEST_KILLED=${MILO_TEST_KILLED}`,
    ])
    const { stdout, stderr } = await example(
      join(EXAMPLES, 'streaming.sh'),
      [...kills, HOURS, '/input', '/output'],
      env,
    )
    assert.equal(stdout, expected)
    assert.match(stderr, /Running job: job_\d/)
    for (const task of ['map', 'reduce']) assert.match(stderr, new RegExp(`Failed ${task} tasks=1\n`))
  })

  it('agree: PySpark on Cassandra, with a step of each kind that is killed', async () => {
    const env = killed('spark')
    const results = join(folder, 'results.jsonl')
    await example(
      spark.submit,
      [
        ...['--master', 'local[2,2]', '--jars', spark.cassandra],
        ...['--conf', `spark.cassandra.connection.host=${cassandra.host}`],
        ...['--conf', `spark.cassandra.connection.port=${cassandra.port}`],
        ...['--conf', 'spark.ui.enabled=false'],
        ...[join(EXAMPLES, 'milo_spark.py'), HOURS, KEYSPACE, results],
      ],
      { ...spark.env, ...env },
    )
    assert.equal(readFileSync(results, 'utf8'), expected)
    assert.deepEqual(readdirSync(env.MILO_TEST_KILLED!).sort(), ['map', 'reduce'])
  })
})

/** A stand-in for milo-collector in PATH: the built one, which may be killed. */
const MILO = `#!/bin/sh
run() { '${process.execPath}' '${ROOT}/collector/bin/milo-collector.js' "$@"; }
if [ -n "$MILO_TEST_KILLED" ] && mkdir "$MILO_TEST_KILLED/$1" 2>/dev/null; then
  head -n 3 | run "$@"
  kill -KILL $$
fi
run "$@"
`

/** What two collectors took, in the order of acceptance. */
interface Accepted {
  collector: string
  atUs: number
  body: Buffer
}

/** Traces of the hour, with those of its neighbours about them, whose halves two collectors took. */
async function makeInput(folder: string): Promise<Accepted[]> {
  const accepted: Accepted[] = []
  const times = [
    -60e6,
    -1e6,
    ...Array.from({ length: TRACES }, (_, i) => (i * HOUR_US) / TRACES),
    HOUR_US,
    HOUR_US + 60e6,
  ]
  for (const [i, afterUs] of times.entries()) {
    const startUs = FROM_US + afterUs
    const traceId = BigInt.asIntN(64, BigInt(i + 1) * 0x9e3779b97f4a7c15n)
    const records = generateTrace({ traceId, spans: 12 + (i % 7), startUs, skewUs: (i % 3) * 1000 })
    for (const [of, collector] of COLLECTORS.entries()) {
      const body = Buffer.concat(records.filter((_, n) => n % 2 === of).map(encodeRecord))
      accepted.push({ collector, atUs: startUs + 2e6, body })
    }
  }
  mkdirSync(folder)
  // As an export writes it: no engine reads it.
  writeFileSync(join(folder, '_b.json'), '{"parts":[]}\n')
  for (const [of, name] of ['a.tsv', 'b.tsv.gz'].entries()) {
    const lines = accepted
      .filter(({ collector }) => collector === COLLECTORS[of])
      .map(({ body }) => `0000000000000000\t${body.toString('base64')}\n`)
    writeFileSync(join(folder, name), of === 0 ? lines.join('') : gzipSync(lines.join('')))
  }
  return accepted
}

/** Writes the table of spans as collectors do, at times of the past. */
async function fillCassandra(
  { host, port, localDataCenter }: SharedServer<CassandraServer>,
  accepted: Accepted[],
): Promise<void> {
  const client = new Client({
    contactPoints: [`${host}:${port}`],
    localDataCenter,
    encoding: { useBigIntAsLong: true },
  })
  try {
    await client.execute(
      `CREATE KEYSPACE ${KEYSPACE} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}`,
    )
    const schema = readFileSync(join(ROOT, 'sql/cassandra/0001-tables.cql'), 'utf8')
    const table = /CREATE TABLE IF NOT EXISTS spans [\s\S]*?;$/m.exec(schema)![0]
    await client.execute(table.replace('spans', `${KEYSPACE}.spans`))
    const insert = `INSERT INTO ${KEYSPACE}.spans (collector, slot, node, uid, records) VALUES (?, ?, ?, ?, ?)`
    for (const { collector, atUs, body } of accepted) {
      let spans = 0
      scanRecords(body, () => spans++)
      const id = BigInt(atUs)
      for (const { slot, node, records } of spanRows([
        { id, receivedUs: id, body, start: 0, end: body.length, spans },
      ])) {
        await client.execute(insert, [collectorNumber(collector), slot, node, hash64(records), records], {
          prepare: true,
        })
      }
    }
  } finally {
    await client.shutdown()
  }
}
