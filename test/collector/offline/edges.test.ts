import assert from 'node:assert/strict'
import { Counter } from '../../../collector/src/store/activity/counter'
import { figuresOf } from '../../../collector/src/store/activity/figures'
import { Meter } from '../../../collector/src/store/activity/meter'
import { edgeOf, readDelta } from '../../../collector/src/store/activity/rows'
import { EventType, encodeRecord, type SpanRecord } from '../../../src/codec/span'
import { generateTrace } from '../../helpers/generated-trace'
import { seeded } from '../../helpers/seeded'
import { lineOf, resultsOf } from './programs'

const START_US = 1_700_000_000_000_000

/** Traces as a shop's services report them: a twentieth of their records is lost, and some callees report nothing, but have names. */
function shopTraces(count: number, probabilities: (number | undefined)[]): SpanRecord[][] {
  const random = seeded(count)
  return Array.from({ length: count }, (_, i) => {
    const traceId = BigInt.asIntN(64, BigInt(i + 1) * 0x9e3779b97f4a7c15n)
    const probability = probabilities[i % probabilities.length]
    const whole = generateTrace({
      traceId,
      spans: 5 + (i % 40),
      startUs: START_US + i * 1e6,
      skewUs: i % 3 === 0 ? 2e6 : 0,
    })
    const services = new Map(whole.filter(isServer).map(({ id, service }) => [id, service!]))
    const records = whole.map(record => {
      const annotations = new Map(record.annotations)
      if (!isServer(record) && random() < 0.3) annotations.set('peer.service', services.get(record.id) ?? 'redis')
      return { ...record, annotations, probability }
    })
    return records.filter((_, r) => r === 0 || random() < 0.95)
  })
}

function isServer({ events }: SpanRecord): boolean {
  return events!.some(({ eventType }) => eventType === EventType.SERVER_RECV)
}

/** The server's half of a call or, if that is lost, those below that have lost their callers' halves: as OpenTelemetry's are. */
function serversOf(client: SpanRecord, records: SpanRecord[]): SpanRecord[] {
  const own = records.filter(other => other.id === client.id && isServer(other))
  if (own.length > 0) return own
  const hasClient = (id: bigint) => records.some(other => other.id === id && !isServer(other))
  return records.filter(other => isServer(other) && other.parentId === client.id && !hasClient(other.id!))
}

const EXACT = [1, 0.5, 0.1, 0.01, 0, undefined]
const nameOf = ({ caller, callerName, callee, calleeName }: Record<string, unknown>) =>
  [caller, callerName, callee, calleeName].join(' | ')

describe('edges', () => {
  it('have the figures that the live pages have of the same spans', async () => {
    const traces = shopTraces(300, EXACT)
    const body = Buffer.concat(traces.flat().map(encodeRecord))
    const nowUs = BigInt(START_US + 300e6)
    const entry = { id: 1n, receivedUs: nowUs, body, start: 0, end: body.length, spans: traces.flat().length }
    const { delta } = await new Meter({ retentionDays: 7 }).count([entry], nowUs)
    const live = new Map<string, Counter>()
    for (const { edges } of readDelta(delta).values()) {
      for (const [key, counter] of edges) {
        const name = nameOf(edgeOf(key) as unknown as Record<string, unknown>)
        if (!live.has(name)) live.set(name, new Counter())
        live.get(name)!.merge(counter)
      }
    }
    const { edge: edges } = resultsOf(traces.map(records => lineOf(records)))
    assert.ok(edges!.length > 15, `${edges!.length}`)
    const figures = edges!.map(edge => {
      const { kind, caller, callerName, callee, calleeName, sketch, traces, ...figures } = edge
      return [nameOf(edge), figures]
    })
    assert.deepEqual(
      new Map(figures as [string, object][]),
      new Map([...live].map(([name, counter]) => [name, JSON.parse(JSON.stringify(figuresOf(counter)))])),
    )
  })

  it('are what follows from a count by hand: calls, errors, quantiles and examples', () => {
    // Of several servers below a call whose own half is lost, any may be meant.
    const traces = shopTraces(200, [1, 0.3, 0.37, 0.011, 0]).filter(records => {
      return records.every(record => isServer(record) || serversOf(record, records).length < 2)
    })
    assert.ok(traces.length > 150)
    const byHand = new Map<string, { w: number; us: number; failed: boolean; id: string; start: number }[]>()
    for (const records of traces) {
      for (const record of records) {
        const [first, last] = [record.events![0]!, record.events!.at(-1)!]
        if (first.eventType !== EventType.CLIENT_SEND || record.probability === 0) continue
        const server = serversOf(record, records)[0]
        const callee = server?.service ?? record.annotations!.get('peer.service')
        if (callee === undefined) continue
        const caller = { callerName: '', caller: record.service }
        // Up within the caller, through its local work, to the half that began the work there.
        for (let at = record; ; ) {
          const above = records.filter(({ id }) => id === at.parentId)
          const own = above.filter(({ service }) => service === record.service)
          const up = own.find(isServer) ?? own[0]
          // Work that another service's half is above began here; if nothing is above, it isn't known where.
          if (up === undefined && above.length > 0 && at !== record) caller.callerName = at.name!
          if (up === undefined) break
          if (isServer(up)) {
            caller.callerName = up.name!
            break
          }
          at = up
        }
        const name = nameOf({ ...caller, callee, calleeName: (server ?? record).name })
        if (!byHand.has(name)) byHand.set(name, [])
        byHand.get(name)!.push({
          w: record.probability === undefined ? 1 : 1 / record.probability,
          us: Number(last.timestamp! - first.timestamp!),
          failed: record.annotations!.has('error.type'),
          id: BigInt.asUintN(64, record.traceId!).toString(16).padStart(16, '0'),
          start: Number(first.timestamp),
        })
      }
    }
    const { edge: edges } = resultsOf(traces.map(records => lineOf(records)))
    assert.deepEqual(edges!.map(nameOf).sort(), [...byHand.keys()].sort())
    for (const edge of edges!) {
      const calls = byHand.get(nameOf(edge))!.sort((a, b) => a.us - b.us)
      const sum = (of: (call: (typeof calls)[number]) => number) => calls.reduce((sum, call) => sum + of(call), 0)
      const [weight, failed] = [sum(({ w }) => w), sum(({ w, failed }) => (failed ? w : 0))]
      assert.ok(Math.abs(edge.calls.value - weight) <= 0.06, nameOf(edge))
      assert.ok(Math.abs(edge.errors.value - failed) <= 0.06)
      assert.ok(Math.abs(edge.mean.value - sum(({ w, us }) => w * us) / weight) <= 0.06)
      assert.equal(edge.records, calls.length)
      for (const [q, { value }] of [
        [0.5, edge.p50],
        [0.95, edge.p95],
        [0.99, edge.p99],
      ] as const) {
        let below = 0
        const at = calls.find(({ w }) => (below += w) >= q * weight * (1 - 1e-9))!
        assert.ok(Math.abs(value - at.us) <= 0.021 * at.us + 1, `p${q} of ${nameOf(edge)}: ${value}, ${at.us}`)
      }
      const slow = edge.traces.find(({ kind }: { kind: string }) => kind === 'slow')
      assert.equal(slow.duration, calls.at(-1)!.us)
      for (const { traceId, start, duration } of edge.traces) {
        assert.ok(calls.some(({ id, us, start: at }) => id === traceId && us === duration && at === start))
      }
      const sketched = edge.sketch.reduce((sum: number, [, weight]: [number, number]) => sum + weight, 0)
      assert.ok(Math.abs(sketched - weight) < 1e-6 * weight)
    }
  })
})
