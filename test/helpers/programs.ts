import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePorts } from '../servers/process'
import { ROOT } from './child'
import { until } from './until'

/** Programs that tests run as their users do: built, in processes of their own. */

/** A loaded machine may take this long to start a process. */
const START_MS = 50_000

export class Program {
  readonly child: ChildProcess
  private readonly command: string
  stdout = ''
  stderr = ''

  constructor(command: string, args: string[], env: NodeJS.ProcessEnv = {}) {
    this.command = [command, ...args].join(' ')
    // The tests' own environment must not set Milo up.
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('MILO_'))
    this.child = spawn(command, args, { cwd: ROOT, env: { ...Object.fromEntries(inherited), ...env } })
    for (const stream of ['stdout', 'stderr'] as const) {
      this.child[stream]!.setEncoding('utf8').on('data', text => {
        this[stream] += text
      })
    }
  }

  get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null
  }

  /** Waits for something in what the program prints on standard output. */
  printed(pattern: RegExp): Promise<RegExpExecArray> {
    const match = () => {
      const match = pattern.exec(this.stdout)
      if (match === null) this.mustRun()
      return match
    }
    return until(`${this.command} prints ${pattern}`, match, START_MS)
  }

  mustRun(): void {
    if (this.ended) throw new Error(`${this.command} ended (${this.child.exitCode}):\n${this.stdout}${this.stderr}`)
  }

  /** SIGTERM, or `signal`; the status with which the program ends. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (!this.ended) {
      const exit = once(this.child, 'exit')
      this.child.kill(signal)
      await exit
    }
    return this.child.exitCode
  }
}

/** Runs a program to its end, which must be status 0; what it wrote to standard output. */
export async function run(command: string, args: string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  const program = new Program(command, args, env)
  const [status, signal] = await once(program.child, 'close')
  const { stdout, stderr } = program
  assert.equal(status, 0, `${command} ${args.join(' ')} ended with ${signal ?? status}:\n${stdout}${stderr}`)
  return stdout
}

export interface Collector {
  /** The web address, without a slash at the end. */
  web: string
  /** `host:port` for MILO_SCRIBE. */
  scribe: string
  stop(): Promise<void>
}

/**
 * A collector of its own, on the embedded store, ready.
 * @param tokens lines of http.tokens, when it is to ask who one is
 */
export async function startCollector(tokens: string[] = []): Promise<Collector> {
  const folder = mkdtempSync(join(tmpdir(), 'milo-test-collector-'))
  const [scribePort, httpPort] = await freePorts(2)
  const config = join(folder, 'collector.yaml')
  writeFileSync(
    config,
    `collector_port: ${scribePort}\nhttp: { port: ${httpPort}, tokens: ${JSON.stringify(tokens)} }\nembedded: { path: '${join(folder, 'milo.db')}' }\n`,
  )
  const program = new Program(process.execPath, ['collector/bin/milo-collector.js', '--config', config])
  const web = `http://127.0.0.1:${httpPort}`
  const stop = async () => {
    const status = await program.stop()
    rmSync(folder, { recursive: true, force: true })
    assert.equal(status, 0, 'the collector ends with status 0 on SIGTERM')
  }
  try {
    const healthy = async () => {
      program.mustRun()
      return (await fetch(`${web}/healthz`).catch(() => undefined))?.ok
    }
    await until('the collector is healthy', healthy, START_MS)
  } catch (error) {
    await program.stop('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
    throw error
  }
  return { web, scribe: `127.0.0.1:${scribePort}`, stop }
}
