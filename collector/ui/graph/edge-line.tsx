import type { GraphLayout } from './graph-layout'

interface Props {
  line: GraphLayout['edges'][number]
  /** More classes. */
  look?: string
  /** In pixels. */
  width?: number
  title?: string
  onClick?(): void
}

/** An arrow. It is no stop for the keyboard: where it can be clicked, a table must have the same links. */
export function EdgeLine({ line: { path, tip, angle }, look = '', width, title, onClick }: Props) {
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: see above
    <g class={`edge ${look}`} onClick={onClick}>
      {onClick && <path class="hit" d={path} />}
      <path d={path} stroke-width={width} />
      <path class="tip" d="M-7 -3.5 L1 0 L-7 3.5 Z" transform={`translate(${tip}) rotate(${angle})`} />
      {title && <title>{title}</title>}
    </g>
  )
}

interface LabelProps {
  line: GraphLayout['edges'][number]
  text: string
  look?: string
}

/** An arrow's label, at its place in the layout or else beside the tip. Labels are drawn after all arrows, so that none is crossed out. */
export function EdgeLabel({ line: { tip, label }, text, look = '' }: LabelProps) {
  if (text === '') return null
  return (
    <g class={`edge ${look}`}>
      <text
        x={label?.[0] ?? tip[0] - 10}
        y={label?.[1] ?? tip[1] - 5}
        text-anchor={label ? 'middle' : 'end'}
        dominant-baseline={label ? 'central' : undefined}
      >
        {text}
      </text>
    </g>
  )
}
