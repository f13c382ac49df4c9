import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cached, run } from './install'
import { installJdk } from './java'
import { mavenJars } from './maven'
import { controls, freePorts, RunningServer, type Server, serverFolder } from './process'
import { oncePerRun } from './shared'

/**
 * Hadoop from Maven's jars, one machine in one process: HDFS with WebHDFS, and YARN with MapReduce where asked for. Its clients
 * run as its users know them, by the program `hadoop`.
 */

/** The last one whose hadoop-streaming is in Maven Central. */
const VERSION = '3.4.2'
const START_MS = 120_000
const SOURCE = join(__dirname, 'hadoop/MiniCluster.java')

/** Java 17 keeps to itself what Hadoop reads. */
const OPENS = ['java.lang', 'java.lang.reflect', 'java.util', 'java.net', 'java.nio', 'java.io'].flatMap(name => [
  '--add-opens',
  `java.base/${name}=ALL-UNNAMED`,
])
/** Quicker to start, for code that runs for seconds. */
const SHORT = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Xshare:auto']

export interface Hadoop {
  /** A folder for PATH, with the program `hadoop`: its commands `jar` and `fs`. */
  bin: string
  /** hadoop-streaming's jar. */
  streaming: string
}

export interface HdfsServer extends Server, Hadoop {
  /** The web address of WebHDFS, without a slash at the end; `webhdfs://host:port` and `hdfs://…` are made of it and of `port`. */
  web: string
  /** For HADOOP_CONF_DIR. */
  conf: string
}

/** Hadoop's clients, without a cluster: jobs run in the process of `hadoop jar`, on files of this machine. */
export const installHadoop = oncePerRun('hadoop', async (): Promise<Hadoop> => {
  const [{ java }, jars] = await Promise.all([installJdk(), installJars()])
  const bin = await cached(`hadoop-${VERSION}-bin-${hashOf(hadoopProgram(java, jars))}`, async folder => {
    const file = join(folder, 'hadoop')
    writeFileSync(file, hadoopProgram(java, jars))
    chmodSync(file, 0o755)
    // It doesn't start without.
    writeFileSync(join(folder, 'core-site.xml'), '<configuration/>\n')
    writeFileSync(join(folder, 'log4j.properties'), LOG)
  })
  return { bin, streaming: join(jars, `hadoop-streaming-${VERSION}.jar`) }
})

/** HDFS with WebHDFS. Whoever runs the tests is its superuser; without Kerberos it believes who one says one is. */
export function startHdfs(): Promise<HdfsServer> {
  return start('HDFS', [])
}

/** HDFS, and YARN that runs MapReduce jobs in containers, which are processes of their own. */
export async function startYarn(): Promise<HdfsServer> {
  await installHadoop()
  const jars = await installJars()
  const properties = {
    'mapreduce.application.classpath': `${jars}/*`,
    'mapreduce.map.java.opts': `-Xmx200m ${SHORT.join(' ')}`,
    'mapreduce.reduce.java.opts': `-Xmx200m ${SHORT.join(' ')}`,
    'yarn.app.mapreduce.am.command-opts': `-Xmx256m ${SHORT.join(' ')}`,
    // As outside of tests, tasks that take more memory than they may are killed.
    'yarn.minicluster.control-resource-monitoring': true,
    'yarn.minicluster.yarn.nodemanager.resource.memory-mb': 8192,
    // Small jobs wait for heartbeats more than for anything else.
    'yarn.resourcemanager.nodemanagers.heartbeat-interval-ms': 100,
    'yarn.app.mapreduce.am.scheduler.heartbeat.interval-ms': 100,
    'mapreduce.client.progressmonitor.pollinterval': 100,
    'mapreduce.client.completion.pollinterval': 100,
    // The containers of a cluster that was killed end soon.
    'yarn.app.mapreduce.am.scheduler.connection.wait.interval-ms': 10_000,
  }
  return start('YARN', ['yarn', ...Object.entries(properties).map(([name, value]) => `${name}=${value}`)])
}

async function start(name: string, args: string[]): Promise<HdfsServer> {
  const hadoop = await installHadoop()
  const [{ java, javac }, jars] = await Promise.all([installJdk(), installJars()])
  const classes = await cached(`hadoop-${VERSION}-cluster-${hashOf(javac, readFileSync(SOURCE))}`, async folder => {
    await run(javac, ['-nowarn', '-d', folder, '-cp', `${jars}/*`, SOURCE])
  })
  const [port, webPort] = await freePorts(2)
  const folder = serverFolder('hadoop')
  mkdirSync(join(folder, 'conf'))
  writeFileSync(join(folder, 'conf/log4j.properties'), LOG)
  const classPath = `${folder}/conf:${classes}:${jars}/*`
  const server = new RunningServer({
    name: `${name} of Hadoop ${VERSION}`,
    folder,
    command: [
      ...[java, ...OPENS, ...SHORT, '-Xmx512m', '-Djava.net.preferIPv4Stack=true', '-cp', classPath],
      ...['MiniCluster', folder, String(port), String(webPort), ...args],
    ],
    ports: [port!, webPort!],
    ready: /^ready$/m,
    startMs: START_MS,
  })
  await server.start()
  return {
    ...{
      host: '127.0.0.1',
      port: port!,
      external: false,
      web: `http://127.0.0.1:${webPort}`,
      conf: join(folder, 'conf'),
    },
    ...hadoop,
    ...controls(server),
  }
}

/** Of jobs alone more than warnings. */
const LOG = `log4j.rootLogger=WARN,out
log4j.logger.org.apache.hadoop.mapreduce.Job=INFO
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.target=System.err
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%p %c{1}: %m%n
`

/** What Hadoop's own bin/hadoop does of it: the configuration first, then the jars; `jar` and `fs` are classes. */
function hadoopProgram(java: string, jars: string): string {
  return `#!/bin/sh
case $1 in
  jar) class=org.apache.hadoop.util.RunJar ;;
  fs) class=org.apache.hadoop.fs.FsShell ;;
  *) echo "hadoop: there is jar and fs, not $1" >&2; exit 2 ;;
esac
shift
exec '${java}' ${[...OPENS, ...SHORT].join(' ')} -Xmx256m -Djava.net.preferIPv4Stack=true \\
  -cp "\${HADOOP_CONF_DIR:-$(dirname "$0")}:${jars}/*" $class "$@"
`
}

function installJars(): Promise<string> {
  return mavenJars(`hadoop-${VERSION}`, [
    `org.apache.hadoop:hadoop-minicluster:${VERSION}`,
    `org.apache.hadoop:hadoop-streaming:${VERSION}`,
    // The classes of a mini cluster were made for tests, and want to see these.
    'junit:junit:4.13.2',
    'org.mockito:mockito-core:4.11.0',
  ])
}

function hashOf(...parts: (string | Buffer)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest('hex').slice(0, 16)
}
