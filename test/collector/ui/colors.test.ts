import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { SERVICE_COLORS, serviceColors } from '../../../collector/ui/parts/colors'
import { ROOT } from '../../helpers/child'

type Rgb = [number, number, number]

const sheet = readFileSync(join(ROOT, 'collector/ui/styles/tokens.css'), 'utf8')

/** A token's color in both themes, linear. */
function token(name: string): [light: Rgb, dark: Rgb] {
  const match = new RegExp(`--${name}: light-dark\\((#[0-9a-f]{6}), (#[0-9a-f]{6})\\)`).exec(sheet)
  assert.ok(match, name)
  return [linear(match[1]!), linear(match[2]!)]
}

function linear(hex: string): Rgb {
  const channel = (at: number) => {
    const c = Number.parseInt(hex.slice(at, at + 2), 16) / 255
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4
  }
  return [channel(1), channel(3), channel(5)]
}

/** WCAG's. */
function contrast(a: Rgb, b: Rgb): number {
  const luminance = ([r, g, b]: Rgb) => 0.2126 * r + 0.7152 * g + 0.0722 * b
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x) as [number, number]
  return (light + 0.05) / (dark + 0.05)
}

/** How colors are seen with each kind of color blindness, in full: Machado, Oliveira and Fernandes 2009. */
const SIGHT: Record<string, Rgb[]> = {
  'full sight': [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protanopia: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranopia: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritanopia: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
}

function oklab([r, g, b]: Rgb): Rgb {
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b)
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b)
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b)
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ]
}

function seen(color: Rgb, sight: Rgb[]): Rgb {
  const clamp = (n: number) => Math.min(1, Math.max(0, n))
  return oklab(sight.map(row => clamp(row[0] * color[0] + row[1] * color[1] + row[2] * color[2])) as Rgb)
}

describe('the services’ colors', () => {
  const services = Array.from({ length: SERVICE_COLORS }, (_, i) => token(`s${i}`))

  for (const theme of [0, 1] as const) {
    const name = theme === 0 ? 'light' : 'dark'
    it(`stand out from the ${name} surface by 3:1, also where a row is chosen or pointed at`, () => {
      for (const surface of ['surface', 'chosen', 'hover']) {
        services.forEach((color, i) => {
          const ratio = contrast(color[theme], token(surface)[theme])
          assert.ok(ratio >= 3, `s${i} on ${surface}: ${ratio.toFixed(2)}`)
        })
      }
    })

    for (const [sight, matrix] of Object.entries(SIGHT)) {
      it(`differ from each other in the ${name} theme for people with ${sight}`, () => {
        services.forEach((a, i) => {
          services.slice(0, i).forEach((b, j) => {
            const [x, y] = [seen(a[theme], matrix), seen(b[theme], matrix)]
            const distance = Math.hypot(x[0] - y[0], x[1] - y[1], x[2] - y[2])
            // A just noticeable difference is about 0.02.
            assert.ok(distance >= 0.08, `s${i} and s${j}: ${distance.toFixed(3)}`)
          })
        })
      })
    }
  }

  it('stay with a service from trace to trace, and are no one else’s within a trace of eight', () => {
    const alone = serviceColors(['cart']).get('cart')
    assert.equal(serviceColors(['cart', 'apples']).get('cart'), alone)
    const eight = serviceColors(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'])
    assert.equal(new Set(eight.values()).size, 8)
    const many = serviceColors(Array.from({ length: 50 }, (_, i) => `service ${i}`))
    assert.equal(many.size, 50)
    for (const slot of many.values()) assert.ok(slot >= 0 && slot < SERVICE_COLORS)
  })

  it('leave text readable by 4.5:1 in both themes', () => {
    for (const theme of [0, 1] as const) {
      for (const ink of ['ink', 'quiet', 'accent', 'low-ink', 'medium-ink', 'high-ink']) {
        for (const surface of ['surface', 'paper', 'hover', 'chosen']) {
          const ratio = contrast(token(ink)[theme], token(surface)[theme])
          assert.ok(ratio >= 4.5, `${ink} on ${surface}: ${ratio.toFixed(2)}`)
        }
      }
    }
  })
})
