import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { apt, cached, run, which } from './install'

const FOLDER = resolve(__dirname, '../interop')
const built = new Map<string, Promise<string>>()

/** test/interop/go, built: servers and clients of Thrift. @returns the program's path */
export function goPeer(): Promise<string> {
  return builtOf('go')
}

/** test/interop/go-jaeger, built: Jaeger's types of its answers. @returns the program's path */
export function goJaeger(): Promise<string> {
  return builtOf('go-jaeger')
}

/** test/interop/go-otlp, built: the OpenTelemetry Collector's receiver for OTLP. @returns the program's path */
export function goOtlp(): Promise<string> {
  return builtOf('go-otlp')
}

/** test/interop/go-kafka, built: a broker in memory. @returns the program's path */
export function goKafka(): Promise<string> {
  return builtOf('go-kafka')
}

function builtOf(name: string): Promise<string> {
  const program = built.get(name) ?? build(name)
  built.set(name, program)
  return program
}

/** @param name of a folder with a program's source, and the versions of what it is made of */
async function build(name: string): Promise<string> {
  if (which('go') === undefined) await apt(['golang-go'], 'put Go 1.21 or newer on the PATH')
  const go = which('go')
  if (go === undefined) throw new Error("go isn't on the PATH after installing it")
  const source = resolve(FOLDER, name)
  // Another source is another program.
  const hash = createHash('sha256')
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(name => /\.(go|mod|sum)$/.test(name))
  for (const name of files.sort())
    hash
      .update(name)
      .update('\0')
      .update(readFileSync(join(source, name)))
  const folder = await cached(`${name}-${hash.digest('hex').slice(0, 12)}`, async part => {
    await run(go, ['build', '-o', join(part, 'program'), '.'], { cwd: source })
  })
  return join(folder, 'program')
}
