import { instance } from '@viz-js/viz'
import { type GraphLayout, readLayout, type Sizes } from './graph-layout'

/** Graphviz, in WebAssembly, which this file alone may run: the collector's headers allow it here, and not on the page. */
const graphviz = instance()

/** Fewer rounds of making it nicer: 320 edges between 57 nodes take 3 s instead of 21. */
const QUICK = { nslimit: 1, nslimit1: 1, mclimit: 0.3 }

addEventListener('message', ({ data }: MessageEvent<Sizes>) => {
  graphviz.then(
    viz => {
      const graph = viz.renderJSON({
        directed: true,
        graphAttributes: {
          rankdir: 'LR',
          nodesep: 0.18,
          ranksep: (data.columnGap ?? 36) / 72,
          ...(data.edges.length > 80 ? QUICK : {}),
        },
        nodeAttributes: { shape: 'box', fixedsize: true, label: '' },
        nodes: data.nodes.map(({ width, height }, i) => ({
          name: String(i),
          attributes: { width: width / 72, height: height / 72 },
        })),
        edges: data.edges.map(({ from, to }, i) => ({
          tail: String(from),
          head: String(to),
          attributes: { id: String(i) },
        })),
      })
      postMessage(readLayout(graph, data) satisfies GraphLayout)
    },
    (error: unknown) => postMessage({ failed: String(error) }),
  )
})
