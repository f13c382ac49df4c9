import { readdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { apt, cached, run, which } from './install'
import { installJava } from './java'
import { mavenJars } from './maven'
import { oncePerRun } from './shared'

/** PySpark from pip's index, with the connector to Cassandra from Maven. */

const VERSION = '3.5.8'
const CONNECTOR = '3.5.1'

export interface Spark {
  /** The program spark-submit. */
  submit: string
  /** What it needs besides this process's environment. */
  env: NodeJS.ProcessEnv
  /** The connector's jars, as --jars takes them. */
  cassandra: string
}

export const installSpark = oncePerRun('spark', async (): Promise<Spark> => {
  if (which('python3') === undefined) await apt(['python3'], '')
  const python = which('python3')!
  const [java, connector, folder] = await Promise.all([installJava(), installConnector(), installPySpark(python)])
  const home = join(folder, 'deps')
  const inFolder = (place: string, end: string) =>
    readdirSync(place).flatMap(name => (name.endsWith(end) ? [join(place, name)] : []))
  return {
    submit: join(home, 'bin/spark-submit'),
    env: {
      SPARK_HOME: home,
      JAVA_HOME: dirname(dirname(java)),
      PYSPARK_PYTHON: python,
      PYTHONPATH: inFolder(join(folder, 'lib'), '.zip').join(':'),
      SPARK_LOCAL_IP: '127.0.0.1',
    },
    cassandra: inFolder(connector, '.jar').join(','),
  }
})

function installConnector(): Promise<string> {
  return mavenJars(`spark-cassandra-connector-${CONNECTOR}`, [
    `com.datastax.spark:spark-cassandra-connector_2.12:${CONNECTOR}`,
  ])
}

/** pip makes a wheel of Spark's 300 MB first, which takes longer than all the rest; so its source package is unpacked here. */
function installPySpark(python: string): Promise<string> {
  return cached(`pyspark-${VERSION}`, async folder => {
    const pip = (...args: string[]) => run(python, ['-m', 'pip', ...args])
    await pip('--version').catch(() => apt(['python3-pip'], ''))
    const quiet = ['-q', '--disable-pip-version-check']
    await pip('download', ...quiet, '--no-deps', '--no-binary', ':all:', '-d', folder, `pyspark==${VERSION}`)
    const archive = join(folder, `pyspark-${VERSION}.tar.gz`)
    await run('tar', ['-xzf', archive, '-C', folder, '--strip-components=1'])
    rmSync(archive)
  })
}
