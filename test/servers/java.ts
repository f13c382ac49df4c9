import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ROOT } from '../helpers/child'
import { Program } from '../helpers/programs'
import { until } from '../helpers/until'
import { apt, cached, run, which } from './install'
import { mavenJars } from './maven'

/** A Java peer, test/interop/java/Peer.java, with Apache Thrift's Java library and, where asked for, OpenTelemetry's agent. */

const LIBTHRIFT = '0.20.0'
/** What libthrift logs to. */
const SLF4J = '1.7.36'
const AGENT = '2.33.1'

const START_MS = 60_000
const STOP_MS = 10_000

interface Java {
  java: string
  classPath: string
  agent: string
}

let found: Promise<Java> | undefined

/** A Java, the jars, and the peer compiled: what JavaPeer starts with. */
export function javaWithThrift(): Promise<Java> {
  found ??= install()
  return found
}

async function install(): Promise<Java> {
  const { javac, java } = await installJdk()
  const jars = await installJars()
  const agent = join(jars, `opentelemetry-javaagent-${AGENT}.jar`)
  if (!existsSync(agent))
    throw new Error(`${agent} isn't among what Maven brought; remove ${jars} and run the tests again`)
  const libraries = readdirSync(jars).flatMap(name =>
    name.endsWith('.jar') && join(jars, name) !== agent ? [join(jars, name)] : [],
  )
  const sources = ['test/gen/java', 'test/interop/java'].flatMap(folder =>
    readdirSync(join(ROOT, folder)).flatMap(name => (name.endsWith('.java') ? [join(ROOT, folder, name)] : [])),
  )
  const hash = createHash('sha256').update(LIBTHRIFT)
  for (const source of sources.sort()) hash.update(readFileSync(source))
  const classes = await cached(`java-peer-${hash.digest('hex').slice(0, 16)}`, async folder => {
    await run(javac, ['-nowarn', '-encoding', 'UTF-8', '-d', folder, '-cp', libraries.join(':'), ...sources])
  })
  return { java, classPath: [classes, ...libraries].join(':'), agent }
}

/** A Java that runs programs. */
export async function installJava(): Promise<string> {
  return (await installJdk()).java
}

/** The compiler, and the Java that it belongs to. */
export async function installJdk(): Promise<{ javac: string; java: string }> {
  const find = () => {
    const ofJavaHome = process.env.JAVA_HOME && join(process.env.JAVA_HOME, 'bin/javac')
    const javac = ofJavaHome && existsSync(ofJavaHome) ? ofJavaHome : which('javac')
    return javac === undefined ? undefined : { javac, java: join(dirname(realpathSync(javac)), 'java') }
  }
  const jdk = find()
  if (jdk !== undefined) return jdk
  const remedy = 'set JAVA_HOME to a JDK of version 11 or later'
  await apt(['default-jdk-headless'], remedy)
  const installed = find()
  if (installed === undefined) throw new Error(`No javac to be found after installing a JDK; ${remedy}`)
  return installed
}

function installJars(): Promise<string> {
  return mavenJars(`java-thrift-${LIBTHRIFT}-agent-${AGENT}`, [
    `org.apache.thrift:libthrift:${LIBTHRIFT}`,
    `org.slf4j:slf4j-simple:${SLF4J}`,
    `io.opentelemetry.javaagent:opentelemetry-javaagent:${AGENT}`,
  ])
}

/** What OpenTelemetry's agent reports of a span. Ids in hex. */
export interface AgentSpan {
  traceId: string
  spanId: string
  /** Absent for a root. */
  parentSpanId?: string
  name: string
  /** SERVER_KIND or CLIENT_KIND. */
  kind: number
  attributes: { key: string; value: { stringValue?: string; intValue?: string } }[]
}

/** OTLP's numbers. */
export const SERVER_KIND = 2
export const CLIENT_KIND = 3

/** Java's clients, and the transport in which they call. The asynchronous one always sends the sequence id 0. */
export const JAVA_CLIENTS = [
  ['buffered', 'buffered'],
  ['framed', 'framed'],
  ['asynchronous', 'framed'],
] as const

/** What Peer.java's client calls, in its order, and what it says of the replies. */
export const JAVA_CALLS = ['ping', 'add', 'divide', 'touch', 'fire', 'move', 'ping']
export const JAVA_RESULTS = ['hello Grüße, 世界 🙂', '42', 'Oops zero 7', 'Point 42 é', 'hello ']

/** Servers of each kind with each protocol, and a client on demand. */
export class JavaPeer {
  private readonly program: Program

  private constructor(program: Program) {
    this.program = program
  }

  /** @param agent the environment of OpenTelemetry's agent; without, the program runs without it */
  static async start(agent?: NodeJS.ProcessEnv): Promise<JavaPeer> {
    const { java, classPath, agent: jar } = await javaWithThrift()
    const env: NodeJS.ProcessEnv = {
      // It makes Java say so on standard error.
      JAVA_TOOL_OPTIONS: undefined,
      ...(agent && {
        OTEL_SERVICE_NAME: 'java-peer',
        // On standard error, a line with OTLP's JSON for some spans at a time.
        OTEL_TRACES_EXPORTER: 'logging-otlp',
        OTEL_METRICS_EXPORTER: 'none',
        OTEL_LOGS_EXPORTER: 'none',
        OTEL_BSP_SCHEDULE_DELAY: '10',
        ...agent,
      }),
    }
    const args = [
      ...(agent ? [`-javaagent:${jar}`] : []),
      // Quicker to start, for code that runs for seconds.
      '-XX:TieredStopAtLevel=1',
      '-XX:+UseSerialGC',
      '-Xmx128m',
      '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
      '-cp',
      classPath,
      'Peer',
    ]
    const program = new Program(java, args, env)
    const peer = new JavaPeer(program)
    const isReady = () => {
      program.mustRun()
      return /^ready$/m.test(program.stdout)
    }
    try {
      await until('the Java peer is ready', isReady, START_MS)
    } catch (error) {
      await program.stop('SIGKILL')
      throw error
    }
    return peer
  }

  /** Where its server of that kind listens, on 127.0.0.1. */
  port(server: string, protocol: string): number {
    return Number(new RegExp(`^listening ${server} ${protocol} (\\d+)$`, 'm').exec(this.program.stdout)![1])
  }

  /** Calls every method of the Calculator there. @returns what the methods returned, in the order of the calls */
  async call(client: string, protocol: string, port: number): Promise<string[]> {
    const results = () => this.lines('called')
    const before = results().length
    this.program.child.stdin!.write(`call ${client} ${protocol} ${port}\n`)
    const answer = await until('the Java client has called', () => {
      this.program.mustRun()
      return results()[before]
    })
    return answer.split('|')
  }

  /** The arguments of the oneway calls that its servers have got. */
  get fired(): string[] {
    return this.lines('fired')
  }

  private lines(word: string): string[] {
    return [...this.program.stdout.matchAll(new RegExp(`^${word} (.*)\n`, 'gm'))].map(([, rest]) => rest!)
  }

  /** What it has said on standard error, but for the agent's spans. */
  get complaints(): string {
    return this.program.stderr
      .split('\n')
      .filter(line => !/^\[otel\.javaagent [^\]]*\] \[[^\]]*\] INFO |^OpenJDK .* warning: Sharing is only/.test(line))
      .join('\n')
  }

  /** The spans that the agent has reported, in the order in which they ended. */
  get agentSpans(): AgentSpan[] {
    return [...this.program.stderr.matchAll(/OtlpJsonLoggingSpanExporter - (\{.*\})\n/g)].flatMap(([, json]) =>
      JSON.parse(json!).scopeSpans.flatMap((scope: { spans: AgentSpan[] }) => scope.spans),
    )
  }

  async stop(): Promise<void> {
    if (this.program.ended) return
    const ended = once(this.program.child, 'close')
    const timer = setTimeout(() => this.program.child.kill('SIGKILL'), STOP_MS)
    // It serves for as long as its standard input is open: so it also ends when the tests are killed.
    this.program.child.stdin!.end()
    await ended
    clearTimeout(timer)
  }
}
