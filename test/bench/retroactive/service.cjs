'use strict'
const { once } = require('node:events')
const { setTimeout: sleep } = require('node:timers/promises')
const milo = require('milo')
const thrift = require('thrift')
const Echo = require('../thrift/gen/Echo')

/*
 * One of the services of a chain, run with -r milo/register. Each serves Echo and calls the next ones, until all ten have been called; the
 * first one makes the requests. A call's text says which request it is, which way it goes, and where something goes wrong:
 *
 *     way   chain: 1 → 2 → … → 10   tree: 1 → 2, 3, 4; 2 → 5, 6; 3 → 7, 8; 4 → 9, 10
 *     sign  error: the call fails, and its caller does without    hidden: something fails inside, and nobody is told
 *           slow: it takes long    step: as hidden, in one of a thousand operations
 */

const PLACE = Number(process.env.PLACE)
const PLACES = 10
const TREE = { 1: [2, 3, 4], 2: [5, 6], 3: [7, 8], 4: [9, 10] }
const SLOW_MS = 150
const STEPS = 1_000
/** More requests than that at a time are left out. */
const MOST_IN_FLIGHT = 500
const TICK_MS = 5

const ENTRIES_A_TICK = 200

if (process.env.SAMPLED_PART) milo.init({ sampler: partly(Number(process.env.SAMPLED_PART)) })

/** Samples the same requests in each run: every so many of them. */
function partly(part) {
  let asked = 0
  return { sample: () => (asked++ % Math.round(1 / part) === 0 ? part : -1) }
}

const clients = new Map()
const next = { chain: PLACE < PLACES ? [PLACE + 1] : [], tree: TREE[PLACE] ?? [] }

async function serve(text) {
  const [request, way, sign, place] = text.split(' ')
  milo.annotate('request', request)
  milo.annotate('customer', `customer-${request % 100}`)
  const isHere = Number(place) === PLACE
  if (isHere && (sign === 'hidden' || sign === 'step')) {
    milo.span(sign === 'step' ? `step ${request % STEPS}` : 'step', span => span.fail(new Error('hidden')))
  }
  if (isHere && sign === 'slow') await sleep(SLOW_MS)
  await Promise.all(
    next[way].map(place =>
      clients
        .get(place)
        .echo(text)
        .catch(() => {}),
    ),
  )
  if (isHere && sign === 'error') throw new Error('no such thing')
  return text
}

/** One request, from its beginning to its end. @returns its trace's id */
function request(text) {
  return milo.span('request', async span => {
    const id = span.traceId
    await serve(text).catch(() => {})
    return id
  })
}

/**
 * Makes requests, so many a second whether they are answered or not.
 * @param every every so many of them has a sign
 * @param signs which, in turns
 * @param at most so many requests, if given
 */
async function run({ rate, seconds, requests = Number.POSITIVE_INFINITY, every = 0, signs = [], tellAll = false }) {
  const startMs = performance.now()
  const latencies = []
  const ids = []
  let begun = 0
  let inFlight = 0
  let leftOut = 0
  // The places come in the same order in each run.
  let state = 1
  const random = n => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return (state >>> 8) % n
  }
  const one = async i => {
    const hasSign = every > 0 && i % every === every - 1
    const sign = hasSign ? signs[Math.floor(i / every) % signs.length] : 'fine'
    const place = hasSign ? 1 + random(PLACES) : 0
    const way = i % 2 === 0 ? 'chain' : 'tree'
    inFlight++
    const fromMs = performance.now()
    const traceId = await request(`${i} ${way} ${sign} ${place}`)
    inFlight--
    if (!hasSign) latencies.push(performance.now() - fromMs)
    else process.send({ sign: { i, sign, place, way, traceId, endMs: Date.now() } })
    if (tellAll) ids.push(traceId)
  }
  for (;;) {
    const elapsedMs = performance.now() - startMs
    const due = Math.min(requests, Math.floor((Math.min(elapsedMs, seconds * 1000) * rate) / 1000))
    for (; begun < due; begun++) {
      if (inFlight < MOST_IN_FLIGHT) void one(begun)
      else leftOut++
    }
    if (ids.length > 0) process.send({ ids: ids.splice(0, ENTRIES_A_TICK) })
    if (begun >= requests || elapsedMs >= seconds * 1000) break
    await sleep(TICK_MS)
  }
  while (inFlight > 0) await sleep(TICK_MS)
  latencies.sort((a, b) => a - b)
  const ms = q => latencies[Math.floor(latencies.length * q)] ?? Number.NaN
  return {
    requests: begun - leftOut,
    leftOut,
    seconds: (performance.now() - startMs) / 1000,
    p50: ms(0.5),
    p99: ms(0.99),
  }
}

/** Makes requests as fast as they are answered, 64 at a time. */
async function runAll({ seconds }) {
  const endMs = performance.now() + seconds * 1000
  let requests = 0
  const lane = async () => {
    while (performance.now() < endMs) await request(`${requests++} ${requests % 2 === 0 ? 'chain' : 'tree'} fine 0`)
  }
  await Promise.all(Array.from({ length: 64 }, lane))
  return { requests, seconds }
}

const server = thrift.createServer(Echo, { echo: serve })
const ASKED = {
  async connect({ ports }) {
    for (const place of new Set([...next.chain, ...next.tree])) {
      const connection = thrift.createConnection('127.0.0.1', ports[place], {})
      await once(connection, 'connect')
      clients.set(place, thrift.createClient(Echo, connection))
    }
    return {}
  },
  run,
  runAll,
  look: async () => {
    const { user, system } = process.cpuUsage()
    return { cpuUs: user + system, ...milo.stats() }
  },
  flush: async () => ({ flushed: await milo.flush(30_000) }),
}
process.on('message', async ({ ask, ...more }) => process.send({ answer: await ASKED[ask](more) }))
process.on('disconnect', () => process.exit())
server.listen(0, '127.0.0.1', () => process.send({ answer: { port: server.address().port } }))
