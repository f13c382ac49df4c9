import type { GraphLayout } from './graph-layout'

interface Props {
  line: GraphLayout['edges'][number]
  /** The text beside the arrow's tip. */
  label?: string
  failed?: boolean
}

export function EdgeLine({ line: { path, tip, angle }, label = '', failed = false }: Props) {
  return (
    <g class={failed ? 'edge failed' : 'edge'}>
      <path d={path} />
      <path class="tip" d="M-7 -3.5 L1 0 L-7 3.5 Z" transform={`translate(${tip}) rotate(${angle})`} />
      {label !== '' && (
        <text x={tip[0] - 10} y={tip[1] - 5} text-anchor="end">
          {label}
        </text>
      )}
    </g>
  )
}
