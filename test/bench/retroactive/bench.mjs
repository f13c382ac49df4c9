import { load, machine, nodes, packages } from '../measure.mjs'
import { besideBadCollectors } from './bad-collectors.mjs'
import { estimates, overload, wholeTraces } from './chain-figures.mjs'
import { memory, spans, thrift } from './costs.mjs'
import { tailSampling } from './rival.mjs'

/*
 * What it costs to record what isn't sampled, and what becomes of it:
 *
 *   costs.mjs           a span (span.cjs), a Thrift call (../thrift/program.cjs), and memory (../thrift/leak.cjs)
 *   chain-figures.mjs   ten services in processes of their own (chain.mjs, service.cjs) and a collector: what of the traces in which
 *                       something goes wrong is in the store, how much is sent, and whether estimates stay as they are
 *   bad-collectors.mjs  the same services beside collectors that are dead, slow, or lie
 *   rival.mjs           the same services, which send everything to OpenTelemetry's tail sampling (tail-sampling/main.go)
 */

export const options = {
  rounds: { type: 'string', default: '11' },
  /** Spans, and calls, of each measurement; calls over which memory mustn't grow. */
  count: { type: 'string', default: '50000' },
  calls: { type: 'string', default: '5000' },
  leak: { type: 'string', default: '1000000' },
  node: { type: 'string', default: '' },
  /** Of the ten services: traces a second, if the machine carries so many, and how long each load lasts. */
  rate: { type: 'string', default: '1000' },
  seconds: { type: 'string', default: '60' },
  /** Only these parts: spans, thrift, memory, whole, overload, estimates, bad, rival. */
  part: { type: 'string', default: '' },
}

const OF_NODE = { spans, thrift, memory }
const OF_CHAIN = { whole: wholeTraces, overload, estimates, bad: besideBadCollectors, rival: tailSampling }

export async function bench(values) {
  const wanted = name => values.part === '' || values.part.split(',').includes(name)
  const text = [`${machine()}. ${packages(['thrift']).join(', ')}.`]
  let failed = false
  const add = result => {
    text.push(result.text, `Load ${load().toFixed(1)}.`)
    failed ||= result.failed
  }
  for (const node of nodes().filter(({ version }) => values.node === '' || version.startsWith(`${values.node}.`))) {
    const parts = Object.entries(OF_NODE).filter(([name]) => wanted(name))
    if (parts.length > 0) text.push(`### Node ${node.version}`)
    for (const [, part] of parts) add(await part(node, values))
  }
  for (const [name, part] of Object.entries(OF_CHAIN)) if (wanted(name)) add(await part(values))
  return { text: text.join('\n\n'), failed }
}
