'use strict'

// Builds traces in a process of its own. Records come out of the codec, as they do in the collector.
const { setImmediate: nextTurn } = require('node:timers/promises')
const { buildTrace, buildTraceInSlices, diffTraces, encodeRecord, readRecord, traceJson } = require(
  process.env.BENCH_TREES,
)

const START_US = 1.7e15
const HOSTS = 30

/** The same numbers each time. */
function dice() {
  let state = 12345
  return below => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff
    return state % below
  }
}

function recordsOf(shape, size) {
  const roll = dice()
  const skew = Array.from({ length: HOSTS }, () => (shape === 'skewed' ? roll(1e9) : 0))
  const id = i => BigInt.asIntN(64, BigInt(i + 1) * 0x9e3779b97f4a7c15n)
  const windows = [[0, 4e8]]
  const records = []
  for (let i = 0; i < size; i++) {
    const parent = i === 0 ? -1 : ({ chain: i - 1, fan: 0 }[shape] ?? roll(i))
    const [from, to] = i === 0 ? windows[0] : within(windows[parent], shape === 'chain' ? 1 : roll(1e6) / 1e6)
    windows[i] = [from + Math.floor((to - from) / 100), to - Math.floor((to - from) / 100)]
    const common = {
      traceId: 77n,
      id: id(i),
      parentId: i === 0 ? 0n : id(parent),
      name: `Shop.method${i % 40}`,
      probability: 1,
    }
    const half = (who, [begin, end], send, receive) => ({
      ...common,
      service: `service-${who % 12}`,
      [send === 1 ? 'clientHost' : 'serverHost']: `host-${who % HOSTS}`,
      annotations: new Map([
        ['rpc.system', 'thrift'],
        ['rpc.method', `method${i % 40}`],
        ['thrift.result', 'ok'],
        ['user', `u${i}`],
      ]),
      events: [
        { timestamp: BigInt(START_US + begin + skew[who % HOSTS]), eventType: send },
        { timestamp: BigInt(START_US + end + skew[who % HOSTS]), eventType: receive },
      ],
    })
    records.push(half(Math.max(0, parent), [from, to], 1, 2), half(i, windows[i], 4, 3))
  }
  // They arrive as they ended, and from many hosts at once.
  for (let i = records.length - 1; i > 0; i--) {
    const j = roll(i + 1)
    ;[records[i], records[j]] = [records[j], records[i]]
  }
  return records.map(encodeRecord).map(bytes => readRecord(bytes, 0).record)
}

/** A part of a window; a call in a chain takes nearly all. */
function within([from, to], part) {
  if (part === 1) return [from + 1, Math.max(from + 1, to - 1)]
  const start = from + Math.floor((to - from) * part)
  return [start, start + Math.floor((to - start) / 2)]
}

function cpuMs(times, act) {
  const from = process.cpuUsage()
  for (let i = 0; i < times; i++) act()
  const { user, system } = process.cpuUsage(from)
  return (user + system) / 1e3 / times
}

let made = { key: '' }

process.on('message', async ({ shape, size, times }) => {
  if (made.key !== `${shape} ${size}`) made = { key: `${shape} ${size}`, records: recordsOf(shape, size) }
  const { records } = made
  const trace = buildTrace(records)
  const build = cpuMs(times, () => buildTrace(records))
  let pause = 0
  let began = performance.now()
  await buildTraceInSlices(records, () => {
    pause = Math.max(pause, performance.now() - began)
    return nextTurn().then(() => {
      began = performance.now()
    })
  })
  pause = Math.max(pause, performance.now() - began)
  let length = 0
  const json = cpuMs(times, () => {
    length = 0
    for (const piece of traceJson(trace)) length += piece.length
  })
  const diff = cpuMs(times, () => diffTraces(trace, trace))
  process.send({ build, pause, json, diff, megabytes: length / 1e6 })
})
process.on('disconnect', () => process.exit())
process.send({})
