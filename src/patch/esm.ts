import { existsSync } from 'node:fs'
import Module from 'node:module'
import { basename, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { append } from './source'

/*
 * Files that patches name as ES modules (`esm: true`). They pass no `load`; Node's hooks append a call to their source, by which
 * they show themselves once they have run (source.ts). This file is loaded by the first such patch: none of Milo's own
 * has one, and nobody else pays for it.
 *
 *   registerHooks   Node 22.15, 23.5 and later: in this thread, for `import` and `require` of an ES module alike
 *   register        before: a thread of Node's own, which runs this very file, for `import` alone
 */

/** The ends of the files, from their package's name on. */
type Wanted = string[]

interface Loaded {
  format: string
  source?: string | Buffer | Uint8Array
}

/** @returns false where there is no way */
export function watchEsm(wanted: Wanted): boolean {
  const { registerHooks, register } = Module as unknown as {
    registerHooks?(hooks: {
      load(url: string, context: unknown, next: (url: string, context: unknown) => Loaded): Loaded
    }): void
    register(file: URL, options: { data: Wanted }): void
  }
  if (registerHooks !== undefined)
    registerHooks({ load: (url, context, next) => shown(url, next(url, context), wanted) })
  // Within a bundle this file is the application's, which mustn't run in that thread.
  else if (basename(__filename) === 'esm.js' && existsSync(join(__dirname, 'thrift-code.js')))
    register(pathToFileURL(__filename), { data: wanted })
  else return false
  return true
}

function shown(url: string, loaded: Loaded, wanted: Wanted): Loaded {
  if (loaded.format !== 'module' || loaded.source == null || !wanted.some(end => url.includes(end))) return loaded
  const file = fileURLToPath(url)
  if (!wanted.some(end => file.replaceAll('\\', '/').endsWith(end))) return loaded
  return {
    ...loaded,
    source: append(Buffer.from(loaded.source as string).toString(), file, [file, undefined, undefined], true),
  }
}

/** What follows is called by Node in the hooks' thread. */
let wantedThere: Wanted = []

export function initialize(data: Wanted): void {
  wantedThere = data
}

export async function load(
  url: string,
  context: unknown,
  next: (url: string, context: unknown) => Promise<Loaded>,
): Promise<Loaded> {
  return shown(url, await next(url, context), wantedThere)
}
