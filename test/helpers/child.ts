import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'

export const ROOT = resolve(__dirname, '../..')

export interface Finished {
  status: number | null
  signal: string | null
  stdout: string
  stderr: string
}

/** Runs node, or another one, with these arguments to its end; MILO_ variables of the test's own are left out. */
export async function runNode(
  args: string[],
  env: Record<string, string> = {},
  cwd = ROOT,
  node = process.execPath,
): Promise<Finished> {
  return finished(startNode(args, env, cwd, node))
}

export function startNode(
  args: string[],
  env: Record<string, string> = {},
  cwd = ROOT,
  node = process.execPath,
): ChildProcess {
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('MILO_')))
  return spawn(node, args, { cwd, env: { ...inherited, ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
}

export async function finished(child: ChildProcess, limitMs = 50_000): Promise<Finished> {
  let stdout = ''
  let stderr = ''
  child.stdout!.on('data', data => {
    stdout += data
  })
  child.stderr!.on('data', data => {
    stderr += data
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), limitMs)
  const [status, signal] = await once(child, 'close')
  clearTimeout(timer)
  return { status, signal, stdout, stderr }
}
