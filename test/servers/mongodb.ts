import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../helpers/child'
import { Program } from '../helpers/programs'
import { until } from '../helpers/until'
import { installJava } from './java'
import { mavenJars } from './maven'

const VERSION = '1.46.0'
/** It takes a second on an idle machine. */
const START_MS = 60_000

/**
 * MongoDB's protocol, spoken by mongo-java-server, which has its data in memory. MongoDB itself comes in none of the ways that tests
 * have to install something, and FerretDB takes minutes to build.
 */
export interface MongoServer {
  url: string
  stop(): Promise<number | null>
}

export async function startMongo(): Promise<MongoServer> {
  const [java, jars] = await Promise.all([
    installJava(),
    mavenJars(`mongo-java-server-${VERSION}`, [`de.bwaldvogel:mongo-java-server:${VERSION}`]),
  ])
  const classPath = readdirSync(jars).flatMap(name => (name.endsWith('.jar') ? [join(jars, name)] : []))
  // Java compiles the one file when it runs it.
  const source = join(ROOT, 'test/interop/mongodb/Mongo.java')
  const options = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-Xmx128m', '-cp', classPath.join(':')]
  const program = new Program(java, [...options, source], { JAVA_TOOL_OPTIONS: '' })
  const port = () => {
    program.mustRun()
    return /^listening (\d+)\n/m.exec(program.stdout)?.[1]
  }
  try {
    return { url: `mongodb://127.0.0.1:${await until('MongoDB listens', port, START_MS)}`, stop: () => program.stop() }
  } catch (error) {
    await program.stop('SIGKILL')
    throw error
  }
}
