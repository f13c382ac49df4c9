import type { KeepsRequest } from '../codec/keeps'
import { Connection } from '../export/connection'
import type { Answer } from '../export/protocol'
import { type RouteOptions, Routes } from '../export/routes'
import { clearTimeout, clock } from '../process/genuine'
import { after, apart } from '../process/later'
import { logRarely } from '../process/log'
import { random, randomHigh, randomLow } from '../trace/id'
import type { FeedPeer, Told } from './feed-peers'
import { listening, watchServers } from './listening'

/**
 * Asks a collector which traces to keep, again and again, on a connection of its own:
 *
 *     keeps(since) ──▶ the collector waits until it has something to say, for 20 s at most ──▶ ids ──▶ keeps(next) …
 *                        │ no answer, or garbage: another address, after all of them a pause (routes.ts)
 *                        │ unknown method: a genuine Scribe, or an old collector. It is asked again once it has closed the connection, or much later.
 *
 * Nothing here keeps the process alive, and nothing that a peer does comes out of here but ids, of which a reply has 1,000 at most.
 */

export interface FeedOptions {
  peers: FeedPeer[]
  service: string
  host(): string
  /** When the history began, in microseconds since the epoch. */
  beganUs(): number
  /** When it was made: it began then until something was overwritten. */
  madeUs: number
  /** What was announced before that needn't be told, in microseconds since the epoch. */
  sinceUs(): number
  /** Called with the entries of a reply: see codec/keeps.ts. */
  take(keeps: Buffer): void
}

export type FeedState = 'off' | 'connecting' | 'connected' | 'unavailable'

const ROUTES: Omit<RouteOptions, 'addresses'> = { firstPauseMs: 200, longestPauseMs: 30_000, returnMs: 30_000 }
/** A process that ends after a moment never connects. */
const FIRST_MS = 100
const CONNECT_MS = 2_000
const WAIT_MS = 20_000
const REPLY_MS = WAIT_MS + 10_000
/** A connection that lasted this long had reached its peer: a proxy cut it off. */
const REACHED_MS = CONNECT_MS + 1_000
/** A peer that answers at once, again and again, is asked no more often: with news, and without. */
const PACE_MS = 50
const IDLE_PACE_MS = 1_000
/** When a peer that doesn't know the method is asked again, and how soon whoever has taken its place: each time later. */
const AGAIN_MS = 600_000
const REPLACED_MS = 500

export class FeedClient {
  state: FeedState = 'off'
  private readonly options: FeedOptions
  private readonly routes: Routes
  /** Which history asks. */
  private readonly processHi = randomHigh()
  private readonly processLo = randomLow()
  /** What was announced until then has been told, in microseconds since the epoch; 0 before it asks. */
  sinceUs = 0
  private connection: Connection | undefined
  private timer: NodeJS.Timeout | undefined
  private isHeld = false
  /** Something is to be begun once it isn't held any more. */
  private isDue = false
  /** How many addresses of this round don't know the method. */
  private unknown = 0
  private replacedMs = REPLACED_MS

  constructor(options: FeedOptions) {
    this.options = options
    watchServers()
    this.routes = new Routes({ ...ROUTES, addresses: options.peers.map(({ address }) => address) }, random)
  }

  /** Begins to ask. Further calls do nothing. */
  start(): void {
    if (this.state !== 'off') return
    this.state = 'connecting'
    this.sinceUs = Math.floor(this.options.sinceUs())
    this.askAfter(FIRST_MS)
  }

  /** While it is held, nothing is begun that would keep the loop alive. */
  hold(isHeld: boolean): void {
    this.isHeld = isHeld
    if (!isHeld && this.isDue) this.askAfter(0)
  }

  stop(): void {
    this.state = 'off'
    clearTimeout(this.timer)
    this.disconnect()
  }

  private disconnect(): void {
    this.connection?.destroy()
    this.connection = undefined
  }

  private askAfter(ms: number): void {
    clearTimeout(this.timer)
    this.timer = after(ms, () => this.ask())
  }

  private ask(): void {
    if (this.state === 'off') return
    this.isDue = this.isHeld
    if (this.isHeld) return
    const askedMs = clock.now()
    const address = this.routes.choose(askedMs)
    if (this.connection?.isClosed || this.connection?.address !== address) this.disconnect()
    const peer = this.options.peers.find(peer => peer.address === address)!
    let told: Told | undefined
    const call = peer.call(this.request(), what => (told = what))
    apart(() => {
      const connection = (this.connection ??= new Connection(address, CONNECT_MS, REPLY_MS))
      connection.send(call, answer => {
        if (this.connection === connection) this.answered(connection, peer, answer, told, clock.now() - askedMs)
      })
    })
  }

  private request(): KeepsRequest {
    const { service, host, beganUs, madeUs } = this.options
    return {
      sinceUs: this.sinceUs,
      waitMs: WAIT_MS,
      service,
      host: host(),
      processHi: this.processHi,
      processLo: this.processLo,
      historyUs: Math.floor(beganUs()),
      listening: listening(),
      madeUs: Math.floor(madeUs),
      nowUs: Math.floor(clock.wallMs() * 1000),
    }
  }

  private answered(
    connection: Connection,
    peer: FeedPeer,
    answer: Answer,
    told: Told | undefined,
    tookMs: number,
  ): void {
    if (answer.code === 'ok') {
      const { nextUs, keeps } = told!.reply!
      this.state = 'connected'
      this.unknown = 0
      this.replacedMs = REPLACED_MS
      this.routes.answered('ok', clock.now())
      if (nextUs > 0 && Number.isSafeInteger(nextUs)) this.sinceUs = nextUs
      this.askAfter(Math.max(0, (keeps.length > 0 ? PACE_MS : IDLE_PACE_MS) - tookMs))
      this.options.take(keeps)
      return
    }
    const isUnknown = answer.code === 'refused' && told!.isUnknown
    if (isUnknown) this.unknown++
    else if (this.state === 'connected') this.state = 'connecting'
    if (answer.code === 'stale') return void this.askAgain(0)
    // The next pause is the shortest: a collector takes those that don't come back soon for ended.
    if (tookMs > REACHED_MS) this.routes.answered('ok', clock.now())
    const pauseMs = this.routes.answered(answer.code, clock.now())
    // Another address is next.
    if (pauseMs === 0) return void this.askAgain(0)
    const { unknown } = this
    this.unknown = 0
    if (unknown === 0) return void this.askAgain(pauseMs)
    if (this.state !== 'unavailable') {
      this.state = 'unavailable'
      const { host, port } = peer.address
      logRarely(
        'feed',
        'warn',
        `${peer.name} at ${host}:${port} doesn't know which traces to keep, as a Milo collector does: what is kept after the fact has the spans of this process alone`,
      )
    }
    // Where some can't be reached, they may be collectors.
    if (unknown < this.options.peers.length) return void this.askAgain(pauseMs)
    if (!peer.staysOpen) return void this.askAgain(AGAIN_MS)
    // When the peer ends, another one may take its place.
    connection.done = () => this.askAgain(this.replacedMs)
    this.replacedMs = Math.min(2 * this.replacedMs, AGAIN_MS)
    this.askAfter(AGAIN_MS)
  }

  private askAgain(ms: number): void {
    this.disconnect()
    this.askAfter(ms)
  }
}
