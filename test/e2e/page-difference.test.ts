import assert from 'node:assert/strict'
import type { Page } from 'playwright-core'
import type { SpanRecord } from '../../src/codec/span'
import { nothingSerious } from '../helpers/axe'
import { arrived, client, counts, drag, fits, pageTests, says, server, shown } from '../helpers/page'
import { sendSpans } from '../helpers/send'
import { until } from '../helpers/until'

/** Traces of a shop: every fifth is slow, because the cart's cache missed. */
function shopTraces(): SpanRecord[] {
  return Array.from({ length: 60 }, (_, i) => {
    const slow = i % 5 === 0
    const traceId = BigInt(5000 + i)
    const from = i * 1000
    const ms = slow ? 800 + i : 20 + (i % 9)
    const common = { traceId, probability: 1 }
    return [
      server({
        ...common,
        id: 1n,
        name: 'POST /checkout',
        service: 'web',
        from,
        ms,
        annotations: new Map([
          ['region', i % 2 === 0 ? 'eu' : 'us'],
          ['cache', i % 10 < 5 ? 'miss' : 'hit'],
        ]),
      }),
      client({ ...common, id: 2n, parentId: 1n, name: 'Cart.total', service: 'web', from: from + 2, ms: ms - 4 }),
      server({
        ...common,
        id: 2n,
        parentId: 1n,
        name: 'Cart.total',
        service: 'cart',
        from: from + 3,
        ms: ms - 6,
        annotations: new Map([
          ['cache', slow ? 'miss' : 'hit'],
          ...(slow && i % 15 === 0 ? [['error.type', 'TIMEOUT'] as const] : []),
        ]),
      }),
    ]
  }).flat()
}

const findings = (page: Page, title: string) =>
  page.locator('section', { has: page.getByRole('heading', { name: title }) }).locator('.findings > li')
const MORE = 'More frequent in the selected traces'

describe('the web page: what is different, in Chromium', function () {
  this.timeout(90_000)
  const tests = pageTests()

  before(async () => {
    await sendSpans(tests.collector.scribe, shopTraces())
    await until('the traces are found', async () => {
      const { traces } = await (await fetch(`${tests.collector.web}/api/search?limit=100&service=cart`)).json()
      return traces.length === 60
    })
  })

  it('shows the cause of what a box in the plot selects, and leads to a search for it', async () => {
    const { page } = tests
    await page.goto('/search?service=web&limit=100')
    // The slow ones are above: the axis is logarithmic.
    await drag(page.locator('.scatter .u-over'), [0.01, 0.01], [0.99, 0.5])
    await page.getByText('12 traces in the box').waitFor()
    await page.getByRole('link', { name: 'What is different?' }).last().click()
    await arrived(page, /\/difference\?/)
    const first = findings(page, MORE).first()
    await first.waitFor()
    await says(first, /^Annotation cache=miss in cart 100% 12 of 12 selected 0% 0 of 48 others/)
    await says(page.locator('.summary'), /12 selected traces \(all\) and 48 other traces \(all\)/)
    // What both groups have isn't there.
    assert.doesNotMatch(await shown(page.locator('.findings')), /region|POST/)
    assert.match(await page.getByLabel('Search (the last hour').inputValue(), /^service:web from:\S+ to:\S+$/)

    // The address has everything.
    await page.reload()
    await first.waitFor()
    await first.getByRole('link', { name: 'cache=miss' }).click()
    await arrived(page, /\/search\?q=/)
    // A span of cart is none of web.
    assert.match(
      await page.getByRole('combobox', { name: 'Search' }).inputValue(),
      /^service:cart cache=miss from:\S+ to:\S+$/,
    )
    await page.locator('.result').first().waitFor()
    await counts(page.locator('.result'), 12)
  })

  it('searches within a box, and forgets it when asked to', async () => {
    const { page } = tests
    await page.goto('/search?service=web&limit=100')
    await drag(page.locator('.scatter .u-over'), [0.02, 0.1], [0.5, 0.9])
    await page.getByText(/traces in the box/).waitFor()
    await page.getByRole('button', { name: 'Clear' }).click()
    await page.getByText(/traces in the box/).waitFor({ state: 'detached' })
    assert.match(page.url(), /\/search\?service=web&limit=100$/)
  })

  it('is reached and filled in by the keyboard alone', async () => {
    const { page } = tests
    await page.goto('/search?service=web&limit=100')
    await page.locator('.result').first().waitFor()
    await page.getByRole('link', { name: 'What is different?' }).first().focus()
    await page.keyboard.press('Enter')
    await arrived(page, /\/difference\?/)
    await page.getByText('Select traces to compare').waitFor()
    await page.getByLabel('Trace took at least').focus()
    await page.keyboard.type('soon')
    await page.keyboard.press('Enter')
    await page.getByRole('alert').getByText('“soon” is not a duration').waitFor()
    await page.getByLabel('Trace took at least').fill('500ms')
    await page.keyboard.press('Enter')
    await arrived(page, /trace\.min_duration=500ms/)
    await findings(page, MORE).first().getByText('cache=miss').waitFor()
    await page.getByRole('button', { name: 'Largest factor' }).click()
    await arrived(page, /order=lift/)
    await page.getByRole('button', { name: 'Largest factor', pressed: true }).waitFor()
    await findings(page, MORE).first().waitFor()
  })

  it('compares the traces that meet a search with those that don’t', async () => {
    const { page } = tests
    await page.goto('/search?q=service:cart+error&limit=100')
    await page.getByRole('link', { name: 'What is different?' }).click()
    await arrived(page, /select\.q=error/)
    assert.equal(await page.getByLabel('A span meets').inputValue(), 'error')
    await page.locator('.findings, .notice').first().waitFor()
  })

  it('says when nothing is selected, nothing is left, nothing differs, and when the collector refuses', async () => {
    const { page } = tests
    const all = `from=0&to=now`
    await page.goto(`/difference?${all}&trace.min_duration=1h`)
    await page.getByText('No trace is selected').waitFor()
    await page.goto(`/difference?${all}&trace.max_duration=1h`)
    await page.getByText('There is nothing to compare with').waitFor()
    await page.goto(`/difference?${all}&select.annotation=region%3Deu`)
    await page.getByText('No difference beyond chance').waitFor()
    tests.expected = /Failed to load resource.*400/
    await page.goto('/difference?trace.min_duration=long')
    await page.getByText("The traces couldn't be compared").waitFor()
  })

  it('fits a phone, and has no serious axe violation in either theme', async () => {
    const { page } = tests
    for (const width of [1280, 375]) {
      await page.setViewportSize({ width, height: 800 })
      await page.goto('/difference?q=service:web+from:0&trace.min_duration=500ms')
      await findings(page, MORE).first().waitFor()
      await fits(page, 'a difference', [width])
      await nothingSerious(page)
    }
  })
})
