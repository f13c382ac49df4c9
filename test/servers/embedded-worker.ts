import threads from 'node:worker_threads'
import { bundle, EMBEDDED_THREAD } from '../helpers/bundle'

/** For mocha's --require. Hundreds of tests open an embedded store, whose thread runs from a bundle here. */

const { Worker } = threads

threads.Worker = class extends Worker {
  constructor(file: string | URL, options?: threads.WorkerOptions) {
    if (file === EMBEDDED_THREAD) super(bundle(EMBEDDED_THREAD, 'embedded-worker'), { ...options, execArgv: [] })
    else super(file, options)
  }
}
