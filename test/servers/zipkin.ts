import { join } from 'node:path'
import { Program } from '../helpers/programs'
import { until } from '../helpers/until'
import { installJava } from './java'
import { mavenJars } from './maven'
import { freePort } from './process'

const VERSION = '3.6.1'
/** It takes five seconds on an idle machine, and a minute where six others work. */
const START_MS = 180_000

/** Zipkin's own server, which keeps spans in memory. */
export interface ZipkinServer {
  /** The web address, without a slash at the end. */
  web: string
  stop(): Promise<number | null>
}

/** For tests: small, and quick to start. */
const JAVA_OPTIONS = ['-Xmx256m', '-XX:TieredStopAtLevel=1']

/** @param storage of its environment, for another one than its memory */
export async function startZipkin(javaOptions = JAVA_OPTIONS, storage: NodeJS.ProcessEnv = {}): Promise<ZipkinServer> {
  const java = await installJava()
  const jars = await mavenJars(`zipkin-server-${VERSION}`, [`io.zipkin:zipkin-server:${VERSION}:jar:exec`])
  const port = await freePort()
  const jar = join(jars, `zipkin-server-${VERSION}-exec.jar`)
  const program = new Program(java, [...javaOptions, '-jar', jar], {
    QUERY_PORT: String(port),
    SELF_TRACING_ENABLED: 'false',
    JAVA_TOOL_OPTIONS: '',
    ...storage,
  })
  const web = `http://127.0.0.1:${port}`
  const healthy = async () => {
    program.mustRun()
    return (await fetch(`${web}/health`).catch(() => undefined))?.ok
  }
  try {
    await until('zipkin-server is healthy', healthy, START_MS)
  } catch (error) {
    await program.stop('SIGKILL')
    throw error
  }
  return { web, stop: () => program.stop() }
}
