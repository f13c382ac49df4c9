import { instance } from '@viz-js/viz'
import { answerWith } from '../shell/answer-with'
import { type GraphLayout, readLayout, type Sizes } from './graph-layout'

/** Graphviz in WebAssembly. Only this worker may run it: the collector's headers allow it here, but not on the page. */
const graphviz = instance()
// The answer to a question reports this error.
graphviz.catch(() => {})

/** Limits Graphviz's optimization rounds: 320 edges between 57 nodes take 3 s instead of 21. */
const QUICK = { nslimit: 1, nslimit1: 1, mclimit: 0.3 }

answerWith(async (sizes: Sizes): Promise<GraphLayout> => {
  const viz = await graphviz
  const graph = viz.renderJSON({
    directed: true,
    graphAttributes: {
      rankdir: 'LR',
      nodesep: 0.18,
      // A label has a column of its own, and the gap on both of its sides.
      ranksep: (sizes.edges.some(({ label }) => label) ? 14 : 36) / 72,
      ...(sizes.edges.length > 80 ? QUICK : {}),
    },
    nodeAttributes: { shape: 'box', fixedsize: true, label: '' },
    nodes: sizes.nodes.map(({ width, height }, i) => ({
      name: String(i),
      attributes: { width: width / 72, height: height / 72 },
    })),
    edges: sizes.edges.map(({ from, to, label }, i) => ({
      tail: String(from),
      head: String(to),
      attributes: { id: String(i), ...(label && { label: { html: blank(label) } }) },
    })),
  })
  return readLayout(graph, sizes)
})

/** A label without text: only its place matters here. */
function blank({ width, height }: { width: number; height: number }): string {
  return `<table border="0" fixedsize="true" width="${width}" height="${height}"><tr><td></td></tr></table>`
}
