// For NODE_OPTIONS=--require: at its end a process adds a line of JSON to MILO_BENCH_USAGE with what it took.
const { appendFileSync } = require('node:fs')
const { isMainThread } = require('node:worker_threads')

if (isMainThread && process.env.MILO_BENCH_USAGE) {
  process.on('exit', () => {
    const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage()
    const usage = { args: process.argv.slice(2), cpuUs: userCPUTime + systemCPUTime, maxMb: maxRSS / 1024 }
    appendFileSync(process.env.MILO_BENCH_USAGE, `${JSON.stringify(usage)}\n`)
  })
}
