import { type ExecFileException, execFile } from 'node:child_process'
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'

/**
 * What tests need and a machine may lack: looked for first, installed when that is allowed, and otherwise asked for.
 * Packages come from apt (as root on Debian), Maven, pip, npm and Go; what isn't a system package is kept in a cache.
 */

const CACHE = process.env.XDG_CACHE_HOME ? join(process.env.XDG_CACHE_HOME, 'milo') : resolve(__dirname, '../../.cache')

/** Standard output belongs to the test reporter. */
export function say(message: string): void {
  process.stderr.write(`[servers] ${message}\n`)
}

/** Runs a program to its end. @returns what it wrote to standard output. @throws with the end of what it wrote. */
export function run(file: string, args: string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) {
  return new Promise<string>((done, fail) => {
    const child = execFile(file, args, { ...options, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      if (error === null) done(stdout)
      else fail(new Error(`${file} ${args.join(' ')}: ${reason(error)}\n${lastLines(`${stdout}\n${stderr}`)}`))
    })
    child.stdin?.end()
  })
}

function reason(error: ExecFileException): string {
  return error.code === 'ENOENT' ? 'not found' : `ended with ${error.signal ?? `status ${error.code}`}`
}

export function lastLines(text: string, count = 30): string {
  return text.trimEnd().split('\n').slice(-count).join('\n')
}

/** The full path of a program, or undefined. Daemons live in sbin folders that an ordinary user's PATH leaves out. */
export function which(program: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin']
  for (const folder of folders) {
    const file = join(folder, program)
    try {
      accessSync(file, constants.X_OK)
      return file
    } catch {}
  }
  return undefined
}

/** One after the other: apt has one lock. */
let aptQueue: Promise<unknown> = Promise.resolve()

/**
 * Installs Debian packages, as root on Debian.
 * @throws elsewhere, with what to install or to set instead
 */
export function apt(packages: string[], alternative: string): Promise<void> {
  const remedy = `install ${packages.join(' ')}${alternative === '' ? '' : `, or ${alternative}`}`
  if (process.getuid?.() !== 0 || which('apt-get') === undefined) {
    return Promise.reject(
      new Error(`These tests need more than this machine has, and only root on Debian may install: ${remedy}`),
    )
  }
  const installed = aptQueue.then(async () => {
    say(`apt: installing ${packages.join(' ')}`)
    const startMs = Date.now()
    const options = { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } }
    const lock = ['-o', 'DPkg::Lock::Timeout=300']
    const install = () =>
      run('apt-get', [...lock, 'install', '-y', '-q', '--no-install-recommends', ...packages], options)
    try {
      // Lists may be missing (images without them) or name versions that are gone.
      await install().catch(async () => {
        await run('apt-get', [...lock, 'update', '-q'], options)
        await install()
      })
    } catch (error) {
      throw new Error(`${(error as Error).message}\nTo go on without apt: ${remedy}`)
    }
    say(`apt: ${packages.join(' ')} installed in ${seconds(startMs)}`)
  })
  aptQueue = installed.catch(() => {})
  return installed
}

const filling = new Map<string, Promise<string>>()

/**
 * The cache's folder `name`, filled by `fill` when it isn't there. It appears whole or not at all, whoever is interrupted
 * or does the same at the same time.
 */
export function cached(name: string, fill: (folder: string) => Promise<void>): Promise<string> {
  const folder = filling.get(name) ?? findOrFill(name, fill).finally(() => filling.delete(name))
  filling.set(name, folder)
  return folder
}

async function findOrFill(name: string, fill: (folder: string) => Promise<void>): Promise<string> {
  const folder = join(CACHE, name)
  if (existsSync(folder)) return folder
  mkdirSync(CACHE, { recursive: true })
  const part = mkdtempSync(join(CACHE, `${name}.part-`))
  say(`${name}: installing into ${folder}`)
  const startMs = Date.now()
  try {
    await fill(part)
    renameSync(part, folder)
    say(`${name}: installed in ${seconds(startMs)}`)
  } catch (error) {
    rmSync(part, { recursive: true, force: true })
    // Another run may have finished first: a folder that isn't empty can't be renamed over.
    if (!existsSync(folder)) throw error
  }
  return folder
}

function seconds(startMs: number): string {
  return `${((Date.now() - startMs) / 1000).toFixed(1)} s`
}
