import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ROOT } from '../measure.mjs'

/** Ten services in processes of their own, and whom they report to. */

const HERE = dirname(fileURLToPath(import.meta.url))
const PLACES = 10
/** A call has two halves, and the root is one. */
export const RECORDS = 2 * (PLACES - 1) + 1
const PATIENCE_MS = 60_000

/** One of them. */
class Service {
  #child
  #answers = []
  /** Called with what it says unasked. */
  onNews = () => {}
  /** Its port, once it listens. */
  port

  constructor(env) {
    const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('MILO_')))
    this.#child = fork(join(HERE, 'service.cjs'), {
      execArgv: ['-r', 'milo/register'],
      cwd: ROOT,
      env: { ...inherited, ...env },
    })
    this.port = this.#answer().then(({ port }) => port)
    this.#child.on('message', message => {
      if ('answer' in message) this.#answers.shift()?.resolve(message.answer)
      else this.onNews(message)
    })
    this.#child.on('exit', (status, signal) => {
      for (const { reject } of this.#answers.splice(0)) reject(new Error(`a service ended with ${signal ?? status}`))
    })
  }

  ask(ask, more = {}) {
    const answer = this.#answer()
    this.#child.send({ ask, ...more })
    return answer
  }

  #answer() {
    return new Promise((resolve, reject) => this.#answers.push({ resolve, reject }))
  }

  async stop() {
    const exit = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exit
  }
}

export class Chain {
  /** By place, which begins at 1. */
  #services = []

  static async start(env) {
    const chain = new Chain()
    const ports = {}
    for (let place = 1; place <= PLACES; place++) {
      chain.#services[place] = new Service({
        PLACE: String(place),
        MILO_SERVICE: `service-${place}`,
        MILO_SAMPLER: 'never',
        ...env,
      })
    }
    for (let place = 1; place <= PLACES; place++) ports[place] = await chain.#services[place].port
    await chain.#all('connect', { ports })
    return chain
  }

  /** What it makes of requests. @param onSign called with those in which something went wrong */
  async run(load, { onSign = () => {}, onIds = () => {} } = {}) {
    const before = await this.look()
    this.#services[1].onNews = ({ sign, ids }) => (sign === undefined ? onIds(ids) : onSign(sign))
    const result = await this.#services[1].ask('run', load)
    const after = await this.look()
    const cpuUs = after.reduce((sum, { cpuUs }, i) => sum + cpuUs - before[i].cpuUs, 0)
    return { ...result, cpuUs: cpuUs / result.requests, before, after }
  }

  /** As fast as they are answered. @returns requests a second */
  async fastest(seconds) {
    const { requests } = await this.#services[1].ask('runAll', { seconds })
    return requests / seconds
  }

  /** What each has to say of itself, in the order of the places. */
  look() {
    return this.#all('look')
  }

  flush() {
    return this.#all('flush')
  }

  async stop() {
    await Promise.all(this.#services.slice(1).map(service => service.stop()))
  }

  #all(ask, more) {
    return Promise.all(this.#services.slice(1).map(service => service.ask(ask, more)))
  }
}

export async function until(what, probe, limitMs = PATIENCE_MS) {
  const giveUp = Date.now() + limitMs
  for (;;) {
    const value = await probe()
    if (value) return value
    if (Date.now() > giveUp) throw new Error(`waited ${limitMs} ms in vain until ${what}`)
    await sleep(20)
  }
}

export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  server.close()
  await once(server, 'close')
  return port
}

/** Counts what comes on its way to a port of this machine. */
export class Counter {
  bytesUp = 0
  #server

  static async start(port) {
    const proxy = new Counter()
    proxy.#server = createServer(socket => {
      const onward = connect(port, '127.0.0.1')
      socket.on('data', data => (proxy.bytesUp += data.length)).pipe(onward)
      onward.pipe(socket)
      for (const [one, other] of [
        [socket, onward],
        [onward, socket],
      ])
        one.on('error', () => {}).on('close', () => other.destroy())
    }).listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get address() {
    return `127.0.0.1:${this.#server.address().port}`
  }

  stop() {
    this.#server.close()
  }
}

/** A collector on the embedded store, with all that goes to its Scribe port counted. */
export class Collector {
  #child
  #folder
  #proxy
  #web

  static async start() {
    const collector = new Collector()
    collector.#folder = mkdtempSync(join(tmpdir(), 'milo-bench-'))
    const [scribePort, httpPort] = [await freePort(), await freePort()]
    const config = join(collector.#folder, 'collector.yaml')
    writeFileSync(
      config,
      JSON.stringify({
        collector_port: scribePort,
        http: { port: httpPort },
        log_level: 'warn',
        embedded: { path: join(collector.#folder, 'milo.db') },
      }),
    )
    collector.#child = spawn(process.execPath, [join(ROOT, 'collector/bin/milo-collector.js'), '--config', config], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    // It has no channel that would tell it.
    process.on('exit', () => collector.#child.kill('SIGKILL'))
    collector.#web = `http://127.0.0.1:${httpPort}`
    await until(
      'the collector is healthy',
      async () => (await fetch(`${collector.#web}/healthz`).catch(() => undefined))?.ok,
    )
    collector.#proxy = await Counter.start(scribePort)
    return collector
  }

  get scribe() {
    return this.#proxy.address
  }

  /** How many bytes have come to its Scribe port. */
  get bytesUp() {
    return this.#proxy.bytesUp
  }

  /** What its process has used until now. */
  get usage() {
    return usageOf(this.#child.pid)
  }

  /** @returns undefined where there is nothing */
  async get(path) {
    const answer = await fetch(`${this.#web}${path}`)
    if (answer.status === 404) return void (await answer.arrayBuffer())
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
    return answer.json()
  }

  /** How many records of a trace there are: of each half of a call one. */
  async recordsOf(traceId) {
    return (await this.get(`/api/traces/${traceId}?form=records`))?.records ?? []
  }

  /** Waits until processes ask it what to keep. */
  async isAsked(services = PLACES) {
    await until(
      'all services ask the collector',
      async () => (await this.get('/api/keeps')).services.length === services,
    )
  }

  async stop() {
    const exit = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exit
    this.#proxy.stop()
    rmSync(this.#folder, { recursive: true })
  }
}

/** CPU time of a process in µs, and its largest resident set in MiB. */
export function usageOf(pid) {
  const [, , ...stat] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(/\) | /)
  const [user, system] = stat.slice(11, 13).map(Number)
  const [, kib] = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  // Of the clock that Linux counts by: 100 a second.
  return { cpuUs: (user + system) * 10_000, mib: Number(kib) / 1024 }
}

/** Peers in the collector's place that do it badly. Each counts the bytes that come. */
export class BadCollector {
  bytesUp = 0
  /** Ids of traces that are there to be asked for: more than a genuine one could know. */
  ids = []
  #server
  #sockets = new Set()

  /** @param answer given a call's name, sequence id and socket, answers it or not */
  static async start(answer) {
    const peer = new BadCollector()
    peer.#server = createServer(socket => {
      peer.#sockets.add(socket)
      let bytes = Buffer.alloc(0)
      socket.on('error', () => {}).on('close', () => peer.#sockets.delete(socket))
      socket.on('data', data => {
        peer.bytesUp += data.length
        bytes = Buffer.concat([bytes, data])
        while (bytes.length >= 4 && bytes.length >= 4 + bytes.readInt32BE(0)) {
          const nameLength = bytes.readInt32BE(8)
          answer(bytes.toString('latin1', 12, 12 + nameLength), bytes.readInt32BE(12 + nameLength), socket, peer)
          bytes = bytes.subarray(4 + bytes.readInt32BE(0))
        }
      })
    }).listen(0, '127.0.0.1')
    await once(peer.#server, 'listening')
    return peer
  }

  get scribe() {
    return `127.0.0.1:${this.#server.address().port}`
  }

  async stop() {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }
}

/** A framed reply: what follows its header is given. */
function reply(name, seqid, result) {
  const frame = Buffer.alloc(4 + 8 + name.length + 4)
  frame.writeInt32BE(frame.length - 4 + result.length, 0)
  frame.writeUInt32BE(0x80010002, 4)
  frame.writeInt32BE(name.length, 8)
  frame.write(name, 12)
  frame.writeInt32BE(seqid, 12 + name.length)
  return Buffer.concat([frame, result])
}

/** Says OK to spans. */
const OK = Buffer.from('080000' + '00000000' + '00', 'hex')
/** So many keeps a reply has at most. */
const MOST_KEEPS = 1_000

/** KeepsReply: next, and entries. */
function keeps(nextUs, entries) {
  const head = Buffer.from('0c0000' + '0a0001' + '0000000000000000' + '0b0002' + '00000000', 'hex')
  head.writeBigInt64BE(BigInt(nextUs), 6)
  head.writeInt32BE(entries.length, 17)
  return Buffer.concat([head, entries, Buffer.from('0000', 'hex')])
}

export const MISBEHAVIOR = {
  /** Takes calls, and never says anything. */
  silent: () => {},
  /** Answers with what is no Thrift, or a reply that has no end. */
  garbage(name, _seqid, socket) {
    if (name === 'Log') return void socket.write('HTTP/1.1 400 Bad Request\r\n\r\n')
    socket.write(Buffer.from('7fffffff', 'hex'))
    socket.write(Buffer.alloc(65_536, 1))
  },
  /** Wants every trace that there is, again and again, and whatever the next ones of all operations may be. */
  greedy(name, seqid, socket, { ids }) {
    if (name === 'Log') return void socket.write(reply(name, seqid, OK))
    const entries = Buffer.alloc(10 * Math.min(ids.length, MOST_KEEPS))
    for (const [i, id] of ids.slice(-MOST_KEEPS).entries()) entries.writeBigUInt64BE(BigInt(`0x${id}`), i * 10 + 1)
    socket.write(reply(name, seqid, keeps(Date.now() * 1000, entries)))
  },
}
