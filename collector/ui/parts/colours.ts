/** As many as the style sheet has, --s0 and on. */
export const SERVICE_COLOURS = 8

/**
 * A service has the same colour in every trace, unless two of one trace would share it: then the later by name takes the next
 * that is free. With more than eight, some share.
 */
export function serviceColours(services: string[]): Map<string, number> {
  const slots = new Map<string, number>()
  const taken = new Set<number>()
  for (const service of [...services].sort()) {
    let slot = hash(service) % SERVICE_COLOURS
    if (taken.size < SERVICE_COLOURS) while (taken.has(slot)) slot = (slot + 1) % SERVICE_COLOURS
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
  /** Of spans whose service nobody knows. */
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

/** The style sheet's colours as they are now, for canvases. */
export function readPalette(): Palette {
  const style = getComputedStyle(document.documentElement)
  const get = (name: string) => style.getPropertyValue(`--${name}`).trim()
  return {
    services: Array.from({ length: SERVICE_COLOURS }, (_, i) => get(`s${i}`)),
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
