import { readFileSync, realpathSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'

/** The properties of a process that tell how it was started. */
export type Started = Pick<NodeJS.Process, 'argv' | 'execArgv' | 'env'>

/** Folders that hold the programs of packages: npm's folders, Debian's, and yarn's own in Node's Docker images. */
const PACKAGE = /[\\/](node_modules|share[\\/]nodejs|yarn-v[\d.]+|\.yarn[\\/]releases)[\\/]/
const CODE = /\.[cm]?[jt]sx?$/
const EVAL = /^(-e|-p|-pe|--eval|--print)(=|$)/
/** Programs that start the application in a process of its own, where Milo is loaded again. pm2's containers run it themselves. */
const LAUNCHER =
  /(?:[\\/](?:node_modules|share[\\/]nodejs)[\\/](?:(?:npm|pnpm|yarn|corepack|forever|nodemon|concurrently)[\\/]|pm2[\\/](?!lib[\\/]ProcessContainer))|[\\/]yarn-v[\d.]+[\\/]|[\\/]\.yarn[\\/]releases[\\/])(?!(?:.*[\\/])?node_modules[\\/])/
/** The name that pm2 gives to a command, such as `pm2 start "node server.js"`. */
const COMMAND = /^(?:node|npm|npx|yarn|pnpm|bun|deno|tsx|ts-node)\s/
/** Options of launchers whose value is a file, and not the application. */
const TAKES_FILE = /^(-r|-c|-i|--(require|import|loader|experimental-loader|config|ignore|file))$/

/**
 * How the application calls itself: the name that was given to pm2, else that of the nearest package.json above the file
 * that runs, else that file's own. A program of a package (ts-node, mocha, next, pm2, ...) is a launcher: it runs the file
 * or package that it is given, or else the application of the current folder, as `node -e` does.
 */
export function serviceOf({ argv, execArgv, env }: Started): string {
  const managed = pm2(env)
  // pm2 calls an application after its file unless it is told otherwise.
  if (
    managed?.name &&
    ![basename(managed.path), fileName(managed.path)].includes(managed.name) &&
    !COMMAND.test(managed.name)
  )
    return limited(managed.name)
  const entry = entryOf(argv, execArgv, managed?.path)
  if (entry === undefined) return limited(nearestName('.') ?? (env.npm_package_name || 'node'))
  return limited(nearestName(entry) ?? (fileName(entry) || 'node'))
}

/** Whether this process is a launcher's own (npm, nodemon, pm2's daemon), whose requests are none of the application's. */
export function isLauncher({ argv }: Pick<Started, 'argv'>): boolean {
  const script = real(argv[1])
  return script !== undefined && LAUNCHER.test(script)
}

/** pm2 runs a file of its own, and says which one it stands for: in variables, or within one of them in cluster mode. */
function pm2(env: NodeJS.ProcessEnv): { path: string; name: string | undefined } | undefined {
  if (env.pm_exec_path !== undefined) return { path: env.pm_exec_path, name: env.name }
  try {
    const { pm_exec_path: path, name } = JSON.parse(env.pm2_env ?? '{}')
    return typeof path === 'string' && typeof name === 'string' ? { path, name } : undefined
  } catch {
    return undefined
  }
}

/** The application's file or folder, without links; undefined where it is whatever the current folder has. */
function entryOf(argv: string[], execArgv: string[], managed: string | undefined): string | undefined {
  if (execArgv.some(option => EVAL.test(option))) return undefined
  const script = real(argv[1])
  if (script !== undefined && !PACKAGE.test(script)) return script
  const entry = real(managed)
  if (entry !== undefined && !PACKAGE.test(entry)) return entry
  for (let i = 2; i < argv.length; i++) {
    const file = TAKES_FILE.test(argv[i - 1]!) ? undefined : real(argv[i])
    if (file !== undefined && !PACKAGE.test(file) && (CODE.test(file) || nameIn(file) !== undefined)) return file
  }
  return undefined
}

/** Its place without links, such as npm makes for programs; undefined where there is none, as for `[worker eval]`. */
function real(path: string | undefined): string | undefined {
  if (path === undefined) return undefined
  // `node app` runs app.js.
  for (const file of [path, `${path}.js`]) {
    try {
      return realpathSync(file)
    } catch {
      // There is no such file.
    }
  }
  return undefined
}

function nearestName(from: string): string | undefined {
  try {
    for (let folder = resolve(from); ; folder = dirname(folder)) {
      const name = nameIn(folder)
      if (name !== undefined || folder === dirname(folder)) return name
    }
  } catch {
    // The current folder has been removed.
    return undefined
  }
}

function nameIn(folder: string): string | undefined {
  try {
    const { name } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    return typeof name === 'string' && name !== '' ? name : undefined
  } catch {
    // None here, or none that can be read.
    return undefined
  }
}

/** Without its extension; an index stands for its folder, as it does for Node. */
function fileName(path: string): string {
  const name = basename(path).replace(CODE, '')
  return name === 'index' ? basename(dirname(path)) || name : name
}

function limited(name: string): string {
  return name.slice(0, 256)
}
