import { machine, median, packages, quantile, table } from '../measure.mjs'
import { compare, options } from './bench.mjs'

/*
 * The Thrift echo within OpenTelemetry's SDK: what ThriftInstrumentation costs, and what the same spans cost by hand.
 */

export { options }

const NAMES = {
  instrumentation: 'ThriftInstrumentation',
  opentelemetry: 'by hand',
  'same-attributes': 'by hand, same attributes',
}
const RIVALS = ['opentelemetry', 'same-attributes']

export const bench = values => compare(values, { names: NAMES, about, tableOf })

function about() {
  return [
    `${machine()}. ${packages(['thrift']).join(', ')}.`,
    '',
    "The echo of `bench -- thrift`, all of it under OpenTelemetry's SDK (batch processor, OTLP protobuf): by `milo/otel-instrumentation`, whose program",
    'is the untraced one and whose context travels in field 8888; and by hand, with a map of headers in an argument of their own: once with the 8 attributes that such code has at hand, once with the 16 that ThriftInstrumentation sets. CPU time per call, user and system, encoding and',
    'sending included. Medians of interleaved rounds; *added* is the median of the differences to untraced within a round, its quartiles in brackets.',
    'Budget: at most what the same spans cost by hand.',
  ].join('\n')
}

function tableOf(variants) {
  const untraced = variants.find(({ name }) => name === 'untraced')
  const added = variant => variant.costs.map((cost, i) => cost - untraced.costs[i])
  const rows = variants.map(variant => {
    const { name, percent, costs } = variant
    const perCall = median(costs).toFixed(1)
    if (variant === untraced) return ['untraced', perCall, '', '', '', '']
    const mine = median(added(variant))
    const [low, high] = [0.25, 0.75].map(q => quantile(added(variant), q).toFixed(1))
    const ratios = RIVALS.map(rival => {
      const byHand = variants.find(other => other.name === rival && other.percent === percent)
      return name === 'instrumentation' && byHand !== undefined ? mine / median(added(byHand)) : undefined
    })
    return [
      `${NAMES[name]}, ${percent} %`,
      perCall,
      `${mine.toFixed(1)} [${low}, ${high}]`,
      ...ratios.map(ratio => ratio?.toFixed(2) ?? ''),
      ratios[1] === undefined ? '' : ratios[1] <= 1 ? 'yes' : 'no',
    ]
  })
  return table(['', 'µs per call', 'added µs', '÷ by hand', '÷ same attributes', 'holds'], rows)
}
