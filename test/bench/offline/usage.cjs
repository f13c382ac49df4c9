// For NODE_OPTIONS=--require: at its end a process adds a line of JSON to MILO_BENCH_USAGE with what it took.
const { appendFileSync, readFileSync } = require('node:fs')
const { isMainThread } = require('node:worker_threads')

if (isMainThread && process.env.MILO_BENCH_USAGE) {
  process.on('exit', () => {
    const { userCPUTime, systemCPUTime } = process.resourceUsage()
    // Not its maxRSS: that begins with the size of the process that has started this one.
    const [, kilobytes] = /VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))
    const usage = { args: process.argv.slice(2), cpuUs: userCPUTime + systemCPUTime, maxMb: kilobytes / 1024 }
    appendFileSync(process.env.MILO_BENCH_USAGE, `${JSON.stringify(usage)}\n`)
  })
}
