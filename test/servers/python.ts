import { apt, cached, run, which } from './install'
import { oncePerRun } from './shared'

/** The version of npm thrift that most tests run on. */
const THRIFT = 'thrift==0.24.0'

export interface Python {
  /** The interpreter. */
  python: string
  /** Its environment: this process's, and where to find `thrift`. */
  env: NodeJS.ProcessEnv
}

/** A Python 3 that can `import thrift`. */
export const pythonWithThrift = oncePerRun('python', async (): Promise<Python> => {
  if (which('python3') === undefined) await apt(['python3'], '')
  const python = which('python3')!
  // What pip builds fits the interpreter it was built for.
  const version = (await run(python, ['-c', 'import sys; print("%d.%d" % sys.version_info[:2])'])).trim()
  const folder = await cached(`python${version}-${THRIFT.replace('==', '-')}`, async part => {
    const pip = () => run(python, ['-m', 'pip', '--version'])
    await pip().catch(() => apt(['python3-pip'], ''))
    await run(python, ['-m', 'pip', 'install', '-q', '--disable-pip-version-check', '--target', part, THRIFT])
  })
  const path = [folder, process.env.PYTHONPATH].filter(Boolean).join(':')
  await run(python, ['-c', 'import thrift.Thrift'], { env: { ...process.env, PYTHONPATH: path } })
  return { python, env: { ...process.env, PYTHONPATH: path } }
})
