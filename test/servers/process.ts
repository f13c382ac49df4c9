import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { connect, createServer, type Server as NetServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { lastLines, say } from './install'

/** A server that tests talk to. */
export interface Server {
  host: string
  port: number
  /** Somebody else's, named by the environment: it can't be stopped, and what tests create there they must drop. */
  external: boolean
  /** Ends it as its operator would. Its data stay. */
  stop(): Promise<void>
  /** Ends it as a power cut would (SIGKILL). Its data stay, as far as it had written them. */
  kill(): Promise<void>
  /** Halts it: connections stay open, and nothing answers. */
  pause(): void
  resume(): void
  /** Lets none of its files grow beyond so many bytes, as on a full disk, until it may again (Infinity) or is started anew. */
  limitFiles(bytes: number): void
  /** After stop or kill: again, on the same data and port. */
  start(): Promise<void>
}

/** One that other tests use too, or that belongs to somebody else: no test may stop it. */
export type SharedServer<S extends Server> = Omit<S, Exclude<keyof Server, 'host' | 'port' | 'external'>>

export interface ServerProgram {
  name: string
  /** Made anew, and removed at the end of the test run, however that comes. */
  folder: string
  /** Program and arguments. */
  command: string[]
  env?: NodeJS.ProcessEnv
  /** Every port it will listen on; `start` refuses when one is taken. The first is the one that must accept connections. */
  ports: number[]
  /** What its log says once it serves. */
  ready: RegExp
  startMs: number
}

const GUARD = join(__dirname, 'guard.sh')
const STOP_MS = 30_000
const servers = new Set<RunningServer>()
// Without the root hooks: guards see to servers that run, and this to those that a test has stopped.
process.on('exit', () => {
  for (const server of servers) server.removeStopped()
})

/** A new temporary folder that a server run as another user may enter. */
export function serverFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `milo-test-${name}-`))
  chmodSync(folder, 0o755)
  return folder
}

/**
 * Ports for test servers: below those that Linux gives to connections and to whatever listens on port 0 (from 32768), so
 * that none is taken between the time when it was found free and the time when its server starts. Each test process has
 * a block of its own, whose first port it keeps in use as long as it runs.
 */
const PORTS = 200
const BLOCKS = 100
let block: Promise<number> | undefined
let portsGiven = 0

async function ownBlock(): Promise<number> {
  for (let i = 0; i < BLOCKS; i++) {
    const first = 12_000 + ((process.pid + i) % BLOCKS) * PORTS
    const mark = createServer(socket => socket.destroy()).unref()
    if (await listens(mark, first)) return first
  }
  throw new Error('no block of ports is free')
}

/** Ports on 127.0.0.1 that are free. */
export async function freePorts(count: number): Promise<number[]> {
  block ??= ownBlock()
  const first = await block
  const ports: number[] = []
  for (let tries = 1; ports.length < count; tries++) {
    if (tries === PORTS) throw new Error(`no ${count} ports from ${first} on are free`)
    const port = first + 1 + (portsGiven++ % (PORTS - 1))
    if (await canListen(port)) ports.push(port)
  }
  return ports
}

export async function freePort(): Promise<number> {
  return (await freePorts(1))[0]!
}

const listens = (server: NetServer, port: number): Promise<boolean> =>
  once(server.listen(port, '127.0.0.1'), 'listening').then(
    () => true,
    () => false,
  )

async function canListen(port: number): Promise<boolean> {
  const server = createServer()
  if (!(await listens(server, port))) return false
  await once(server.close(), 'close')
  return true
}

/** Whether something on 127.0.0.1 accepts connections there. */
export function isListening(port: number): Promise<boolean> {
  return new Promise(done => {
    const socket = connect({ port, host: '127.0.0.1' })
    const answer = (open: boolean) => {
      socket.destroy()
      done(open)
    }
    socket.on('connect', () => answer(true)).on('error', () => answer(false))
  })
}

/** A server in a process of its own, guarded: see guard.sh. */
export class RunningServer {
  private readonly program: ServerProgram
  private guard: ChildProcess | undefined
  private pid = 0
  private starts = 0

  constructor(program: ServerProgram) {
    this.program = program
    servers.add(this)
  }

  async start(): Promise<void> {
    const { name, folder, command, env, ports, ready, startMs } = this.program
    if (this.guard !== undefined) throw new Error(`${name} is running`)
    for (const port of ports) {
      if (await isListening(port)) throw new Error(`${name}: port ${port} is taken by another process`)
    }
    const beganMs = Date.now()
    const log = join(folder, `log-${++this.starts}`)
    const out = openSync(log, 'w')
    // A session of its own: Ctrl-C reaches the tests alone, and they end their servers.
    const guard = spawn('sh', [GUARD, folder, ...command], {
      stdio: ['pipe', out, out, 'pipe'],
      env: { ...process.env, ...env },
      cwd: folder,
      detached: true,
    })
    closeSync(out)
    this.guard = guard
    guard.on('exit', () => {
      this.guard = undefined
      guard.stdin!.destroy()
    })
    const [pid] = await once(guard.stdio[3]!, 'data')
    this.pid = Number(pid)
    for (;;) {
      if (this.guard === undefined) throw new Error(`${name} didn't start:\n${lastLines(readFileSync(log, 'utf8'))}`)
      if (ready.test(readFileSync(log, 'utf8')) && (await isListening(ports[0]!))) break
      if (Date.now() - beganMs > startMs) {
        await this.kill()
        throw new Error(`${name} wasn't ready within ${startMs} ms:\n${lastLines(readFileSync(log, 'utf8'))}`)
      }
      await sleep(50)
    }
    // A server that is only waiting for the next test must not keep the process from ending.
    guard.unref()
    ;(guard.stdin as unknown as { unref(): void }).unref()
    say(`${name}: ready on port ${ports[0]} after ${((Date.now() - beganMs) / 1000).toFixed(1)} s`)
  }

  async stop(): Promise<void> {
    if (!this.signal('SIGTERM')) return
    const deadlineMs = Date.now() + STOP_MS
    while (this.guard !== undefined && Date.now() < deadlineMs) await sleep(20)
    await this.kill()
  }

  async kill(): Promise<void> {
    if (!this.signal('SIGKILL')) return
    while (this.guard !== undefined) await sleep(5)
  }

  pause(): void {
    if (!this.signal('SIGSTOP')) return
    // Its threads stop one by one, and one that hasn't may still answer.
    const threads = `/proc/${this.pid}/task`
    const runs = (thread: string) => !/\) T /.test(readFileSync(`${threads}/${thread}/stat`, 'utf8'))
    for (const deadlineMs = Date.now() + STOP_MS; readdirSync(threads).some(runs); ) {
      if (Date.now() > deadlineMs) throw new Error(`process ${this.pid} doesn't stop`)
    }
  }

  resume(): void {
    this.signal('SIGCONT')
  }

  limitFiles(bytes: number): void {
    // As the server's own user, who may: root doesn't everywhere.
    const { uid, gid } = statSync(`/proc/${this.pid}`)
    const limit = Number.isFinite(bytes) ? bytes : 'unlimited'
    execFileSync('prlimit', [`--pid=${this.pid}`, `--fsize=${limit}:`], { uid, gid })
  }

  private signal(signal: NodeJS.Signals): boolean {
    if (this.guard === undefined) return false
    try {
      process.kill(this.pid, signal)
    } catch (error) {
      // It ended a moment ago, and its guard is about to.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
    return true
  }

  removeStopped(): void {
    if (this.guard === undefined) rmSync(this.program.folder, { recursive: true, force: true })
  }

  /** For good: the folder goes too. */
  async remove(): Promise<void> {
    servers.delete(this)
    await this.kill()
    this.removeStopped()
  }
}

/** The part of Server that is done to its process. */
export function controls(server: RunningServer): Omit<Server, 'host' | 'port' | 'external'> {
  return {
    stop: () => server.stop(),
    kill: () => server.kill(),
    pause: () => server.pause(),
    resume: () => server.resume(),
    limitFiles: bytes => server.limitFiles(bytes),
    start: () => server.start(),
  }
}

/** Ends everything that this process has started. */
export async function removeServers(): Promise<void> {
  await Promise.all([...servers].map(server => server.remove()))
}
