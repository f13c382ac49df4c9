/** The number of service colors in the style sheet: --s0 and following. */
export const SERVICE_COLORS = 8

/**
 * Assigns colors to services. A service has the same color in every trace, unless two services of one trace would share it:
 * then the later one by name takes the next free color. With more than eight services, some share colors.
 */
export function serviceColors(services: string[]): Map<string, number> {
  const slots = new Map<string, number>()
  const taken = new Set<number>()
  for (const service of [...services].sort()) {
    let slot = hash(service) % SERVICE_COLORS
    if (taken.size < SERVICE_COLORS) while (taken.has(slot)) slot = (slot + 1) % SERVICE_COLORS
    taken.add(slot)
    slots.set(service, slot)
  }
  return slots
}

/** FNV-1a. */
function hash(text: string): number {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  return h >>> 0
}

export interface Palette {
  services: string[]
  /** The color of spans whose service is unknown. */
  unknown: string
  ink: string
  quiet: string
  line: string
  surface: string
  high: string
  medium: string
  low: string
  match: string
  accent: string
  font: string
}

/** Reads the style sheet's current colors, for canvases. */
export function readPalette(): Palette {
  const style = getComputedStyle(document.documentElement)
  const get = (name: string) => style.getPropertyValue(`--${name}`).trim()
  return {
    services: Array.from({ length: SERVICE_COLORS }, (_, i) => get(`s${i}`)),
    unknown: get('quiet'),
    ink: get('ink'),
    quiet: get('quiet'),
    line: get('line'),
    surface: get('surface'),
    high: get('high'),
    medium: get('medium'),
    low: get('low'),
    match: get('match'),
    accent: get('accent'),
    font: getComputedStyle(document.body).fontFamily,
  }
}

/** Returns the style sheet's current color of a name. */
export type ColorOf = (name: string) => string

/** Returns how charts are drawn in the current colors. */
export function chartStyle() {
  const style = getComputedStyle(document.documentElement)
  const color: ColorOf = name => style.getPropertyValue(`--${name}`)
  return {
    color,
    axis: { stroke: color('quiet'), grid: { stroke: color('line'), width: 1 }, ticks: { show: false } },
  }
}
