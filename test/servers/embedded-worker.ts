import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import threads from 'node:worker_threads'
import { ROOT } from '../helpers/child'

/**
 * For mocha's --require. The embedded store's thread runs from its source in tests, and to compile that takes tsx 200 ms
 * each time. Hundreds of tests open a store: so each process of a run bundles the source once, as it is now, and threads run
 * that.
 */

const SOURCE = join(ROOT, 'collector/src/store/embedded/worker.ts')

const { Worker } = threads
let bundle: string | undefined

threads.Worker = class extends Worker {
  constructor(file: string | URL, options?: threads.WorkerOptions) {
    if (file === SOURCE) super(bundled(), { ...options, execArgv: [] })
    else super(file, options)
  }
}

function bundled(): string {
  if (bundle !== undefined) return bundle
  const { buildSync } = require('esbuild') as typeof import('esbuild')
  // As deep as the source's own folder, so that it finds sql/, and below the collector's packages.
  const modules = join(ROOT, 'collector/node_modules')
  mkdirSync(modules, { recursive: true })
  const folder = mkdtempSync(join(modules, '.milo-test-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  bundle = join(folder, 'worker.js')
  buildSync({ entryPoints: [SOURCE], outfile: bundle, bundle: true, platform: 'node', packages: 'external' })
  return bundle
}
