const { readdirSync } = require('node:fs')
const { join } = require('node:path')

/**
 * What takes more than a quarter of a minute comes first, so that none of it is left alone at the end. Browsers and programs take a
 * processor all the time; databases, clusters and kills wait for most of it: so they take turns. What needs nothing that a new machine
 * has yet to install comes before all.
 */
const FIRST = [
  'contract/embedded-kill',
  'contract/embedded',
  'src/export/emitter-chaos',
  'collector/process',
  'e2e/page-access',
  'offline/engines',
  'collector/receive/scribe-server',
  'contract/cassandra-mysql-away',
  'e2e/page-trace',
  'contract/cassandra-mysql-full',
  'e2e/page',
  'e2e/page-tasks',
  'contract/cassandra-mysql-kill',
  'e2e/page-services',
  'contract/cassandra-mysql',
  'offline/hdfs',
  'e2e/page-large',
  'e2e/test-runners',
  'e2e/page-hostile',
  'moving',
  'interop/thrift-packages',
  'interop/creditkarma',
  'interop/thrift-versions',
  'interop/routes',
  'otel-instrumentation/instrumentation',
  'contract/cassandra-mysql-activity',
  'contract/embedded-verify',
].map(name => join('test', `${name}.test.ts`))

const all = readdirSync('test', { recursive: true })
  .map(name => join('test', name))
  .filter(name => name.endsWith('.test.ts') && !name.startsWith(join('test', 'bench')))
  .sort()

module.exports = {
  require: ['tsx/cjs', 'test/servers/embedded-worker.ts', 'test/servers/hooks.ts'],
  spec: [...FIRST, ...all.filter(name => !FIRST.includes(name))],
  parallel: true,
  // On two processors: there is always one file that waits.
  jobs: 3,
  timeout: 60_000,
  exit: true,
}
