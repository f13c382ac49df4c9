import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { SyntaxNode } from '@lezer/common'
import { parser } from '@prometheus-io/lezer-promql'
import { parse as parseYaml } from 'yaml'
import { ServiceExposition } from '../../collector/src/api/activity/exposition'
import { createMetrics } from '../../collector/src/metrics'
import { collector, Peer, span, undo } from '../collector/support'
import { ROOT } from '../helpers/child'
import { MemoryActivity } from '../helpers/memory-activity'

const FOLDER = join(ROOT, 'examples/grafana')
const read = (name: string) => readFileSync(join(FOLDER, name), 'utf8')
const DASHBOARDS = readdirSync(FOLDER).filter(name => name.endsWith('.json'))
/** Labels that Prometheus gives to what it scrapes, and its own metric. */
const OF_PROMETHEUS = ['job', 'instance']
const UP = 'up'

/** Grafana's own variables, and those of the dashboards, as they stand in a query. */
function withoutVariables(expr: string): string {
  return expr.replace(/\$__(rate_interval|range|interval)\b/g, '5m').replace(/"\$\w+"/g, '".*"')
}

/** Every expression of the examples, with where it is. */
function expressions(): [string, string][] {
  const ofPanels = DASHBOARDS.flatMap(name =>
    JSON.parse(read(name)).panels.flatMap((panel: any) =>
      panel.targets.map((target: any) => [`${name}: ${panel.title}`, withoutVariables(target.expr)]),
    ),
  )
  const ofAlerts = parseYaml(read('alerts.yml')).groups.flatMap((group: any) =>
    group.rules.map((rule: any) => [`alerts.yml: ${rule.alert}`, rule.expr]),
  )
  const ofVariables = DASHBOARDS.flatMap(name =>
    JSON.parse(read(name)).templating.list.flatMap(({ query }: any) => {
      const [, metric, label] = /^label_values\((\w+), (\w+)\)$/.exec(query) ?? []
      return metric === undefined ? [] : [[`${name}: ${query}`, `sum by (${label}) (${metric})`]]
    }),
  )
  return [...ofPanels, ...ofAlerts, ...ofVariables]
}

interface Use {
  metric: string
  labels: string[]
}

/** What a query in PromQL names: each metric with the labels that are asked of it. @throws where Prometheus's grammar refuses it */
function usesOf(expr: string): Use[] {
  const tree = parser.parse(expr)
  const text = ({ from, to }: { from: number; to: number }) => expr.slice(from, to)
  const uses: Use[] = []
  tree.iterate({
    enter(node) {
      if (node.type.isError) throw new Error(`not PromQL at ${node.from}: ${expr}`)
      if (node.name !== 'VectorSelector') return
      const names: string[] = []
      const labels: string[] = []
      const visit = (child: SyntaxNode): void => {
        if (child.name === 'Identifier') names.push(text(child))
        if (child.name === 'LabelName') labels.push(text(child))
        for (let next = child.firstChild; next !== null; next = next.nextSibling) visit(next)
      }
      visit(node.node)
      for (let above = node.node.parent; above !== null; above = above.parent) {
        if (above.name !== 'AggregateExpr') continue
        const grouping = above.getChild('AggregateModifier')
        if (grouping !== null) visit(grouping)
      }
      assert.equal(names.length, 1, `one metric in ${text(node)}`)
      uses.push({ metric: names[0]!, labels })
    },
  })
  return uses
}

describe('the examples for Grafana and Prometheus', () => {
  /** The labels of each metric that a scrape has. */
  const labelsOf = new Map<string, Set<string>>([[UP, new Set()]])

  before(async () => {
    const c = await collector()
    assert.equal(await new Peer(c.scribePorts[0]!).log(span()), 0)
    await c.get('/api/search')
    await fetch(`${c.url}/api/search?limit=0`)
    const memory = new MemoryActivity().operation({}, { failed: true }).edge({}, { failed: true })
    const services = await new ServiceExposition(memory.read, 10_000).expose('prometheus', 60_000_000 * 700)
    for (const text of [await (await fetch(`${c.url}/metrics`)).text(), services]) {
      for (const [, family, type] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
        for (const suffix of type === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']) {
          labelsOf.set(family + suffix, new Set())
        }
      }
      for (const [, name, labels] of text.matchAll(/^(\w+)\{(.*)\} \S+$/gm)) {
        for (const [, label] of labels!.matchAll(/(\w+)="/g)) labelsOf.get(name!)?.add(label!)
      }
    }
    // Of counters that nothing has raised yet, a scrape has the name alone.
    for (const metric of Object.values(createMetrics())) {
      if (!('labelNames' in metric)) continue
      const { name, labelNames } = metric as unknown as { name: string; labelNames: string[] }
      for (const label of labelNames) labelsOf.get(name)?.add(label)
    }
  })
  after(undo)

  it('are there', () => {
    assert.deepEqual(DASHBOARDS.sort(), ['collector.json', 'services.json'])
    assert.ok(expressions().length > 40)
  })

  for (const [where, expr] of expressions()) {
    it(`ask for what a scrape has: ${where}`, () => {
      const uses = usesOf(expr)
      assert.ok(uses.length > 0)
      for (const { metric, labels } of uses) {
        const known = labelsOf.get(metric)
        assert.ok(known !== undefined, `there is no metric ${metric}`)
        for (const label of labels) {
          assert.ok(known.has(label) || OF_PROMETHEUS.includes(label), `${metric} has no label ${label}`)
        }
      }
    })
  }

  it('would be found out', () => {
    for (const wrong of ['sum by (a (b)', 'rate(a[5m]', 'sum(rate(a[5m])) /']) {
      assert.throws(() => usesOf(wrong), /not PromQL/, wrong)
    }
    assert.deepEqual(usesOf('sum by (le, b) (rate(a_bucket{c="d"}[5m] offset 1h)) > 2 * on (b) e'), [
      { metric: 'a_bucket', labels: ['c', 'le', 'b'] },
      { metric: 'e', labels: [] },
    ])
  })

  for (const name of DASHBOARDS) {
    it(`${name} has panels that Grafana can place, each with its own id, and asks the chosen Prometheus`, () => {
      const { panels, templating, uid } = JSON.parse(read(name))
      assert.equal(`${uid}.json`, `milo-${name}`)
      const ids = panels.map(({ id }: any) => id)
      assert.equal(new Set(ids).size, ids.length)
      const taken = new Set<string>()
      for (const { title, gridPos, datasource, targets } of panels) {
        for (const { refId, datasource: asked } of targets)
          assert.deepEqual([asked, typeof refId], [datasource, 'string'])
        assert.deepEqual(datasource, { type: 'prometheus', uid: '${datasource}' }, title)
        assert.ok(gridPos.x + gridPos.w <= 24, title)
        for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
          for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
            assert.ok(!taken.has(`${x} ${y}`), `${title} is over another panel`)
            taken.add(`${x} ${y}`)
          }
        }
      }
      const variables = templating.list.map(({ name }: any) => name)
      const used = [...read(name).matchAll(/\$\{?([a-z]\w*)\}?/g)].map(([, variable]) => variable!)
      assert.deepEqual([...new Set(used)].sort(), variables.sort())
    })
  }

  it('name the addresses that the collector has', () => {
    const [milo, prometheus] = parseYaml(read('datasources.yml')).datasources
    assert.deepEqual([milo.type, new URL(milo.url).pathname], ['jaeger', '/jaeger'])
    assert.equal(prometheus.jsonData.exemplarTraceIdDestinations[0].datasourceUid, milo.uid)
    const { scrape_configs, rule_files } = parseYaml(read('prometheus.yml'))
    assert.deepEqual(
      scrape_configs.map((job: any) => job.metrics_path ?? '/metrics'),
      ['/metrics', '/metrics/services'],
    )
    for (const file of rule_files) assert.ok(read(file))
    const jobs = scrape_configs.map((job: any) => job.job_name)
    for (const [, job] of read('alerts.yml').matchAll(/job="([^"]*)"/g)) assert.ok(jobs.includes(job))
  })

  it('every alert says what has happened', () => {
    for (const { rules } of parseYaml(read('alerts.yml')).groups) {
      for (const { alert, annotations, labels } of rules) {
        assert.ok(annotations.summary.endsWith('.'), alert)
        assert.ok(['page', 'ticket'].includes(labels.severity), alert)
      }
    }
  })
})
