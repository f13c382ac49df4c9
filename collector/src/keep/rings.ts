import { IdMap } from '../record/ids'
import type { Ring } from '../store/keeps'

const MAX_RINGS = 20_000
const MAX_LENGTH = 200
/** Who hasn't asked for so long is gone; a question takes 30 s at most. */
const GONE_US = 120_000_000

/** The processes that ask what to keep. */
export class Rings {
  private readonly nowUs: () => number
  /** Called when a process has come or gone. */
  onNews: () => void = () => {}
  private readonly known = new IdMap<Ring & { asking: number; changed: boolean }>()

  constructor(nowUs: () => number = () => Date.now() * 1000) {
    this.nowUs = nowUs
  }

  get size(): number {
    return this.known.size
  }

  /**
   * Notes that a process asks.
   * @returns called when it has been answered
   */
  asks(ring: Omit<Ring, 'seenUs' | 'ended'>): () => void {
    const found = this.put({ ...ring, seenUs: this.nowUs(), ended: false })
    if (found === undefined) return () => {}
    found.asking++
    return () => {
      found.asking--
      found.seenUs = this.nowUs()
      found.changed = true
    }
  }

  /** Notes that a process has closed its connection. */
  left(process: bigint): void {
    const found = this.known.get(process)
    if (found === undefined || found.asking > 0 || found.ended) return
    Object.assign(found, { ended: true, seenUs: this.nowUs(), changed: true })
    this.onNews()
  }

  /** Notes what a relay tells of a process. */
  told(ring: Ring): void {
    const nowUs = this.nowUs()
    if (ring.seenUs > nowUs - GONE_US) this.put({ ...ring, seenUs: Math.min(ring.seenUs, nowUs) })
  }

  /** Returns those that have changed since the last call, and forgets those that are gone. */
  take(): Ring[] {
    const nowUs = this.nowUs()
    const changed: Ring[] = []
    for (const [process, ring] of [...this.known]) {
      if (ring.asking > 0) ring.seenUs = nowUs
      if (ring.asking > 0 || ring.changed) {
        const { asking, changed: _, ...rest } = ring
        changed.push(rest)
      }
      ring.changed = false
      if (ring.asking === 0 && (ring.ended || ring.seenUs < nowUs - GONE_US)) this.known.delete(process)
    }
    return changed
  }

  /** What can't be stored now is told by the next `take` again. */
  putBack(rings: Ring[]): void {
    for (const { process } of rings) {
      const ring = this.known.get(process)
      if (ring !== undefined) ring.changed = true
    }
  }

  private put(ring: Ring) {
    let found = this.known.get(ring.process)
    if (found === undefined) {
      if (this.known.size >= MAX_RINGS) return undefined
      found = { ...ring, asking: 0, changed: true }
      this.known.set(ring.process, found)
      this.onNews()
    }
    if (found.ended !== ring.ended) this.onNews()
    const { service, host, address, historyUs } = ring
    return Object.assign(found, ring, {
      service: service.slice(0, MAX_LENGTH),
      host: host.slice(0, MAX_LENGTH),
      address: address.slice(0, MAX_LENGTH),
      historyUs: Math.max(0, Math.min(historyUs || 0, this.nowUs())),
      changed: true,
    })
  }
}
