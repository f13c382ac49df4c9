import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { apt, cached, run, which } from './install'

/** The Go program's source, with the versions of what it is made of. */
const SOURCE = resolve(__dirname, '../interop/go')

let built: Promise<string> | undefined

/** test/interop/go, built. @returns the program's path */
export function goPeer(): Promise<string> {
  built ??= build()
  return built
}

async function build(): Promise<string> {
  if (which('go') === undefined) await apt(['golang-go'], 'put Go 1.18 or newer on the PATH')
  const go = which('go')
  if (go === undefined) throw new Error("go isn't on the PATH after installing it")
  // Another source is another program.
  const hash = createHash('sha256')
  const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' }).filter(name => /\.(go|mod|sum)$/.test(name))
  for (const name of files.sort())
    hash
      .update(name)
      .update('\0')
      .update(readFileSync(join(SOURCE, name)))
  const folder = await cached(`go-peer-${hash.digest('hex').slice(0, 12)}`, async part => {
    await run(go, ['build', '-o', join(part, 'peer'), '.'], { cwd: SOURCE })
  })
  return join(folder, 'peer')
}
