import assert from 'node:assert/strict'
import { EventType, type SpanRecord } from '../../../src/codec/span'
import { generateTrace } from '../../helpers/generated-trace'
import { seeded } from '../../helpers/seeded'
import { lineOf, resultsOf } from './programs'

const START_US = 1_700_000_000_000_000
const idOf = ({ traceId }: SpanRecord) => BigInt.asUintN(64, traceId!).toString(16).padStart(16, '0')
const typesOf = ({ events }: SpanRecord) => events!.map(({ eventType }) => eventType)
const isServer = (record: SpanRecord) => typesOf(record).includes(EventType.SERVER_RECV)
const isClient = (record: SpanRecord) => typesOf(record).includes(EventType.CLIENT_SEND)

/** A shop in which much is wrong: records are lost, clocks are off, versions differ, and some spans have neither an end nor a probability. */
function brokenTraces(count: number): SpanRecord[][] {
  const random = seeded(count)
  return Array.from({ length: count }, (_, i) => {
    const traceId = BigInt.asIntN(64, BigInt(i + 1) * 0x9e3779b97f4a7c15n)
    const whole = generateTrace({ traceId, spans: 5 + (i % 25), startUs: START_US, skewUs: i % 4 === 0 ? 30e6 : 0 })
    const callees = new Map(whole.filter(isServer).map(({ id, service }) => [id, service!]))
    const records = whole.map(record => {
      const annotations = new Map(record.annotations)
      // Within a trace, some instances are of the new version already.
      const version = record.service === 'cart' && random() < 0.5 ? '2.0' : i % 2 === 0 ? '1.0' : undefined
      if (version !== undefined && record.service !== 'users') annotations.set('service.version', version)
      if (isClient(record))
        annotations.set('peer.service', random() < 0.1 ? 'redis' : (callees.get(record.id) ?? 'redis'))
      return {
        ...record,
        annotations,
        probability: random() < 0.1 ? undefined : [1, 0.1, 0][i % 3],
        events: random() < 0.05 ? record.events!.slice(0, 1) : record.events,
      } as SpanRecord
    })
    return records.filter(() => random() < 0.9)
  }).filter(records => records.length > 0)
}

interface Count {
  spans: number
  weighted: number
  traces: Set<string>
}

/** Counts by what, by service and version. */
class Counts {
  readonly all = new Map<string, Map<string, Count>>()

  add(what: string, service: string, version: string | null, trace: string, weight: number): void {
    const name = `${service} ${version}`
    if (!this.all.has(name)) this.all.set(name, new Map())
    const counts = this.all.get(name)!
    if (!counts.has(what)) counts.set(what, { spans: 0, weighted: 0, traces: new Set() })
    const count = counts.get(what)!
    count.spans++
    count.weighted += weight
    count.traces.add(trace)
  }
}

function byHand(traces: SpanRecord[][]): Counts {
  const counts = new Counts()
  const versionOf = (record: SpanRecord) => record.annotations!.get('service.version') ?? null
  for (const records of traces) {
    const known = records.map(({ probability }) => probability).filter(p => p !== undefined)
    const p = known.length === 0 ? 1 : Math.min(...known)
    const weight = p === 0 ? 0 : 1 / p
    const add = (what: string, service: string, version: string | null) => {
      counts.add(what, service, version, idOf(records[0]!), weight)
    }
    for (const record of records) {
      const own = [record.service!, versionOf(record)] as const
      add('all', ...own)
      if (record.probability === undefined) add('unknownProbabilities', ...own)
      if (
        record.events!.filter(({ eventType }) => (isServer(record) ? eventType! >= 3 && eventType! <= 4 : true))
          .length < 2
      )
        add('incomplete', ...own)
      const halves = records.filter(({ id }) => id === record.id)
      const parents = records.filter(({ id }) => id === record.parentId)
      const isOutermost = isClient(record) || !halves.some(isClient)
      if (isOutermost && record.parentId !== 0n && parents.length === 0) add('orphans', ...own)
      const below = records.filter(({ parentId }) => parentId === record.id)
      const isServed = (record: SpanRecord, all: SpanRecord[]) => {
        return isServer(record) && !all.some(other => other.id === record.id && isClient(other))
      }
      if (isClient(record) && !halves.some(isServer) && !below.some(other => isServed(other, records))) {
        const callee = record.annotations!.get('peer.service')!
        if (callee !== 'redis') add('missingServers', callee, null)
      }
      if (isServer(record) && !halves.some(isClient) && parents.length > 0) {
        const parent = parents.find(isServer) ?? parents.find(parent => !isClient(parent))
        if (parent !== undefined && parent.service !== record.service) {
          add('missingClients', parent.service!, versionOf(parent))
        }
      }
    }
  }
  return counts
}

describe('broken instrumentation', () => {
  const traces = brokenTraces(300)
  const { instrumentation: lines } = resultsOf(traces.map(records => lineOf(records)))
  const counts = byHand(traces)
  const problems = ['orphans', 'missingServers', 'missingClients', 'unknownProbabilities', 'incomplete'] as const

  it('is what follows from a count by hand, by service and version', () => {
    const found = lines!.map(({ service, version }) => `${service} ${version}`)
    assert.deepEqual(found, [...new Set(found)])
    assert.deepEqual([...found].sort(), [...counts.all.keys()].sort())
    for (const line of lines!) {
      const name = `${line.service} ${line.version}`
      const own = counts.all.get(name)!
      for (const problem of ['all', ...problems]) {
        const { spans, weighted, trace } = problem === 'all' ? line : line[problem]
        const expected = own.get(problem) ?? { spans: 0, weighted: 0, traces: new Set() }
        assert.equal(spans, expected.spans, `${problem} of ${name}`)
        assert.ok(Math.abs(weighted - expected.weighted) <= 0.06, `${problem} of ${name}: ${weighted}`)
        assert.equal(trace === null ? 0 : 1, Math.min(1, expected.spans))
        if (trace !== null) assert.ok(expected.traces.has(trace), `${problem} of ${name}: ${trace}`)
      }
      assert.equal(line.traces, own.get('all')?.traces.size ?? 0)
    }
    for (const problem of problems) {
      const all = lines!.reduce((sum, line) => sum + line[problem].spans, 0)
      assert.ok(all > 20, `${problem}: ${all}`)
    }
  })

  it('names those whose halves show that others are missing', () => {
    for (const problem of ['missingServers', 'missingClients']) {
      for (const line of lines!) {
        const { spans, by } = line[problem]
        assert.equal(
          by.reduce((sum: number, { spans }: { spans: number }) => sum + spans, 0),
          spans,
        )
        for (const other of by) assert.ok(counts.all.has(`${other.service} ${other.version}`))
      }
    }
  })

  it('says which clocks are wrong, and by how much', () => {
    const traces = Array.from({ length: 20 }, (_, i) => {
      return generateTrace({ traceId: BigInt(i + 1), spans: 30, startUs: START_US, skewUs: i % 2 === 0 ? 30e6 : 0 })
    })
    const { instrumentation: lines } = resultsOf(traces.map(records => lineOf(records)))
    assert.ok(lines!.length > 3)
    for (const { service, spans, skewedClocks } of lines!) {
      const { medianUs, aheadUs, behindUs } = skewedClocks
      assert.equal(behindUs, 0)
      if (service === 'web')
        assert.deepEqual(skewedClocks, { spans: 0, weighted: 0, trace: null, medianUs: null, aheadUs: 0, behindUs: 0 })
      else {
        assert.ok(skewedClocks.spans > 0 && skewedClocks.spans < spans)
        assert.ok(
          Math.abs(medianUs - 30e6) < 1e6 && Math.abs(aheadUs - 30e6) < 1e6,
          `${service}: ${medianUs}, ${aheadUs}`,
        )
      }
    }
  })

  it('isn’t that of a service that reports no such half at all, as a database', () => {
    assert.ok(!lines!.some(({ service }) => service === 'redis'))
  })
})
