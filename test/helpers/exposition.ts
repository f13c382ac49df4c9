import assert from 'node:assert/strict'

/** What a scrape says. */
export interface Scrape {
  types: Map<string, string>
  samples: Sample[]
}

interface Sample {
  name: string
  labels: Record<string, string>
  value: number
  exemplar?: { labels: Record<string, string>; value: number; time: number }
}

const LABEL = String.raw`[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*"`
const LABELS = String.raw`\{(?:${LABEL}(?:,${LABEL})*)?\}`
const NUMBER = String.raw`-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf|NaN)`
const SAMPLE = new RegExp(`^([a-zA-Z_:][\\w:]*)(${LABELS})? (${NUMBER})(?: # (${LABELS}) (${NUMBER}) (${NUMBER}))?$`)
const SUFFIXES: Record<string, string[]> = {
  gauge: [''],
  counter: ['_total'],
  histogram: ['_bucket', '_sum', '_count'],
}

/**
 * Reads Prometheus's text format, or OpenMetrics, and refuses whatever their specifications do: families that aren't together or come
 * twice, samples twice, buckets that shrink or don't end with +Inf, exemplars outside of their bucket or where none belongs.
 */
export function parseExposition(text: string, format: 'prometheus' | 'openmetrics'): Scrape {
  const isOpen = format === 'openmetrics'
  const lines = text.split('\n')
  assert.equal(lines.pop(), '', 'the last line ends')
  if (isOpen) assert.equal(lines.pop(), '# EOF')
  const types = new Map<string, string>()
  const samples: Sample[] = []
  const seen = new Set<string>()
  let family = ''
  for (const line of lines) {
    const [, what, name, rest] = /^# (HELP|TYPE) ([a-zA-Z_:][\w:]*) (.*)$/.exec(line) ?? []
    if (what === 'HELP') {
      assert.ok(!types.has(name!), `${name} twice`)
      family = name!
      continue
    }
    if (what === 'TYPE') {
      assert.equal(name, family)
      assert.ok(Object.hasOwn(SUFFIXES, rest!), line)
      types.set(name!, rest!)
      continue
    }
    const parts = SAMPLE.exec(line)
    assert.ok(parts, `not a sample: ${line}`)
    const type = types.get(family)!
    const suffix = parts[1]!.slice(family.length)
    assert.ok(parts[1]!.startsWith(family), `${line} is in the family ${family}`)
    // Prometheus's own format has the suffix of a counter in the family's name.
    assert.ok(
      type === 'counter' && !isOpen ? suffix === '' && family.endsWith('_total') : SUFFIXES[type]!.includes(suffix),
      line,
    )
    const labels = labelsOf(parts[2])
    const id = `${parts[1]} ${JSON.stringify(Object.entries(labels).sort())}`
    assert.ok(!seen.has(id), `${id} twice`)
    seen.add(id)
    const sample: Sample = { name: parts[1]!, labels, value: numberOf(parts[3]!) }
    if (type !== 'gauge') assert.ok(sample.value >= 0, line)
    if (suffix === '_bucket' || suffix === '_count') assert.ok(Number.isInteger(sample.value), line)
    if (parts[4] !== undefined) {
      assert.ok(isOpen && (suffix === '_bucket' || suffix === '_total'), `an exemplar does not belong here: ${line}`)
      sample.exemplar = { labels: labelsOf(parts[4]), value: numberOf(parts[5]!), time: numberOf(parts[6]!) }
      assert.ok(Object.entries(sample.exemplar.labels).flat().join('').length <= 128)
    }
    samples.push(sample)
  }
  for (const [name, type] of types) if (type === 'histogram') checkHistogram(name, samples, isOpen)
  return { types, samples }
}

function checkHistogram(name: string, samples: Sample[], isOpen: boolean): void {
  const histograms = new Map<string, Sample[]>()
  for (const sample of samples) {
    if (!sample.name.startsWith(name)) continue
    const { le, ...labels } = sample.labels
    const id = JSON.stringify(labels)
    histograms.set(id, [...(histograms.get(id) ?? []), sample])
  }
  for (const [id, all] of histograms) {
    const buckets = all.filter(sample => sample.name === `${name}_bucket`)
    let [below, bound] = [0, Number.NEGATIVE_INFINITY]
    for (const { labels, value, exemplar } of buckets) {
      if (isOpen) assert.match(labels.le!, /^\+Inf$|\./, 'OpenMetrics has one way to write a bound')
      const le = numberOf(labels.le!)
      assert.ok(le > bound && value >= below, `${id} le=${labels.le}`)
      if (exemplar !== undefined) assert.ok(exemplar.value <= le && exemplar.value > bound, `${id} le=${labels.le}`)
      ;[below, bound] = [value, le]
    }
    assert.equal(bound, Number.POSITIVE_INFINITY)
    assert.equal(all.find(sample => sample.name === `${name}_count`)?.value, below)
    assert.ok(all.some(sample => sample.name === `${name}_sum`))
  }
}

function labelsOf(text = '{}'): Record<string, string> {
  const labels: Record<string, string> = {}
  for (const [, name, value] of text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
    assert.ok(!Object.hasOwn(labels, name!), `${name} twice`)
    labels[name!] = value!.replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c))
  }
  return labels
}

function numberOf(text: string): number {
  return Number(text.replace('Inf', 'Infinity'))
}
