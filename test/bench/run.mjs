/**
 * npm run bench -- <name> [--record] [options of the bench]
 *
 * Each bench compares Milo with its rivals in the same run and prints the ratios. The rivals are packages of this folder
 * alone, and are installed when a bench is run. With --record the result becomes the bench's section in
 * docs/performance.md.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const HERE = dirname(fileURLToPath(import.meta.url))
const PAGE = join(HERE, '../../docs/performance.md')

/** name → module with `options` (as parseArgs takes them) and `bench(values)`, which returns { text, failed }. */
const BENCHES = {
  thrift: './thrift/bench.mjs',
  otel: './thrift/otel.mjs',
  http: './http/bench.mjs',
  retroactive: './retroactive/bench.mjs',
  chaos: './chaos/bench.mjs',
  span: './span/bench.mjs',
  context: './context/bench.mjs',
  startup: './startup/bench.mjs',
  codec: './codec/bench.mjs',
  web: './web/bench.mjs',
  collector: './collector/bench.mjs',
  search: './search/bench.mjs',
  trees: './trees/bench.mjs',
  aggregation: './aggregation/bench.mjs',
  offline: './offline/bench.mjs',
}

const [name, ...rest] = process.argv.slice(2)
if (!Object.hasOwn(BENCHES, name ?? '')) {
  console.error(
    `${name === undefined ? 'Which bench?' : `There is no bench '${name}'.`} There are: ${Object.keys(BENCHES).join(', ')}`,
  )
  process.exit(2)
}
install()
const { bench, options } = await import(BENCHES[name])
const { values } = parseArgs({ args: rest, options: { ...options, record: { type: 'boolean', default: false } } })
const { text, failed } = await bench(values)
console.log(text)
if (values.record) {
  record(name, text)
  console.error(`docs/performance.md: ${name} recorded`)
}
if (failed) process.exitCode = 1

function install() {
  const installed = join(HERE, 'node_modules/.package-lock.json')
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(join(HERE, 'package-lock.json')).mtimeMs) return
  console.error('installing the rivals into test/bench/node_modules')
  execFileSync('npm', ['ci', '--prefix', HERE, '--loglevel', 'error'], { stdio: ['ignore', 'ignore', 'inherit'] })
  // Mocha would find the tests that zipkin's packages ship among ours.
  for (const file of readdirSync(join(HERE, 'node_modules'), { recursive: true })) {
    if (file.endsWith('.test.ts')) rmSync(join(HERE, 'node_modules', file))
  }
}

/** Puts the text in place of the section that bears the bench's name, or at the page's end. */
function record(name, text) {
  const sections = readFileSync(PAGE, 'utf8')
    .trimEnd()
    .split(/^(?=## )/m)
  const at = sections.findIndex(section => section.startsWith(`## ${name}\n`))
  sections.splice(at === -1 ? sections.length : at, 1, `## ${name}\n\n${text.trimEnd()}\n`)
  writeFileSync(PAGE, `${sections.map(section => section.trimEnd()).join('\n\n')}\n`)
}
