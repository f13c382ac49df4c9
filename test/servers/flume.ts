import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Program } from '../helpers/programs'
import { until } from '../helpers/until'
import { which } from './install'
import { mavenJars } from './maven'
import { freePort, isListening, serverFolder } from './process'

/** Apache Flume's Scribe source, in front of a small channel and files: a Scribe server of somebody else's. */

const VERSION = '1.11.0'
const START_MS = 60_000

export class Flume {
  readonly port: number
  private readonly program: Program
  private readonly folder: string

  private constructor(port: number, program: Program, folder: string) {
    this.port = port
    this.program = program
    this.folder = folder
  }

  /** @param capacity events in the channel; when it is full the source answers TRY_LATER. `sink`: whether it is emptied. */
  static async start({ capacity = 10_000, sink = true } = {}): Promise<Flume> {
    const jars = await mavenJars(`flume-${VERSION}`, [
      `org.apache.flume:flume-ng-node:${VERSION}`,
      `org.apache.flume.flume-ng-sources:flume-scribe-source:${VERSION}`,
    ])
    const java = process.env.JAVA_HOME ? join(process.env.JAVA_HOME, 'bin/java') : which('java')
    if (java === undefined) throw new Error('no Java: set JAVA_HOME')
    const folder = serverFolder('flume')
    const port = await freePort()
    const lines = [
      'a.sources = scribe',
      'a.channels = memory',
      `a.sinks = ${sink ? 'files' : ''}`,
      'a.sources.scribe.type = org.apache.flume.source.scribe.ScribeSource',
      `a.sources.scribe.port = ${port}`,
      'a.sources.scribe.channels = memory',
      'a.channels.memory.type = memory',
      `a.channels.memory.capacity = ${capacity}`,
      `a.channels.memory.transactionCapacity = ${Math.min(capacity, 1000)}`,
      'a.channels.memory.keep-alive = 0',
      'a.sinks.files.type = file_roll',
      'a.sinks.files.channel = memory',
      `a.sinks.files.sink.directory = ${folder}`,
      'a.sinks.files.sink.rollInterval = 0',
    ]
    const config = join(folder, 'flume.conf')
    writeFileSync(config, `${lines.join('\n')}\n`)
    const program = new Program(java, [
      '-XX:TieredStopAtLevel=1',
      '-Xmx128m',
      '-cp',
      `${jars}/*`,
      'org.apache.flume.node.Application',
      '-n',
      'a',
      '-f',
      config,
    ])
    const ready = () => {
      program.mustRun()
      return isListening(port)
    }
    try {
      await until('Flume listens', ready, START_MS)
    } catch (error) {
      await program.stop('SIGKILL')
      throw error
    }
    return new Flume(port, program, folder)
  }

  /** The messages that have come through, as text, one to a line. */
  messages(): string[] {
    const files = readdirSync(this.folder).filter(name => name !== 'flume.conf')
    return files.flatMap(name => readFileSync(join(this.folder, name), 'latin1').split('\n').filter(Boolean))
  }

  async stop(): Promise<void> {
    await this.program.stop('SIGKILL')
  }
}
