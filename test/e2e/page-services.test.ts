import assert from 'node:assert/strict'
import { generateTrace } from '../helpers/generated-trace'
import { arrived, pageTests, shown } from '../helpers/page'
import { sendSpans } from '../helpers/send'
import { until } from '../helpers/until'

describe('the web page: services, in Chromium', function () {
  this.timeout(90_000)
  const tests = pageTests()

  it('shows rates, errors, percentiles over time and which service calls which, and links to searches', async () => {
    const { page } = tests
    await page.goto('/')
    await page.getByRole('link', { name: 'Services' }).click()
    await page.getByText('Nothing was reported in this time range').waitFor()
    const startUs = Date.now() * 1000 - 120e6
    for (let i = 1n; i <= 5n; i++) {
      const records = generateTrace({ traceId: i, spans: 200, startUs: startUs + Number(i) * 10e6 })
      // Each stands for ten.
      for (const record of records) record.probability = 0.1
      await sendSpans(tests.collector.scribe, records)
    }
    const ask = async (path: string): Promise<any> => (await fetch(`${tests.collector.web}${path}`)).json()
    const count = async (): Promise<number | undefined> =>
      (await ask('/api/earlier/services')).services.find((one: { service: string }) => one.service === 'web')?.spans
    await until('all is stored', async () => (await ask('/api/status')).backlogSpans === 0, 60_000)
    await until('the services are counted', count, 60_000)
    await page.keyboard.press('r')
    const lines = page.locator('.table tbody tr')
    await lines.first().waitFor()
    assert.equal(await lines.count(), 7)
    const perHour = await count()
    const [rate] = /\d+(\.\d+)?\/(min|s)/.exec(await shown(lines.filter({ hasText: 'web' })))!
    const expected = perHour! / 60
    assert.ok(Math.abs(Number.parseFloat(rate) - expected) <= 0.06 * expected + 1, `${rate} for ${expected} a minute`)

    await page.getByRole('link', { name: 'cart', exact: true }).click()
    await arrived(page, /services\/cart\?from=-1h/)
    await page.locator('.latency canvas').waitFor()
    await page.getByRole('link', { name: 'Traces', exact: true }).click()
    await arrived(page, /\/search\?q=service%3Acart\+last\+1h/)
    await page.locator('.result').first().waitFor()
    assert.equal(await page.locator('.result').count(), 5)
  })

  it('keeps the time range from page to page, through a trace as well', async () => {
    const { page } = tests
    await page.goto('/search')
    const range = page.getByRole('combobox', { name: 'Time range' })
    assert.equal(await shown(range.locator('option:checked')), 'Any time')
    await range.selectOption('Last 6 hours')
    await arrived(page, /\/search\?q=last\+6h/)
    await page.locator('.result').first().click()
    await arrived(page, /\/trace\//)
    await page.getByRole('link', { name: 'Services' }).click()
    await arrived(page, /\/services\?from=-6h$/)
    assert.equal(await shown(range.locator('option:checked')), 'Last 6 hours')
    await page.getByRole('link', { name: 'Graph', exact: true }).click()
    await arrived(page, /\/graph\?from=-6h$/)
    await page.getByRole('button', { name: 'Earlier' }).click()
    await arrived(page, /\/graph\?from=2.*Z&to=2.*Z$/)
    await page.getByText('No calls between services in this time range').waitFor()
    const { search } = new URL(page.url())
    await page.getByRole('link', { name: 'Services' }).click()
    await arrived(page, url => url.pathname === '/services' && url.search === search)
    await page.goBack()
    await page.goBack()
    await arrived(page, /\/graph\?from=-6h$/)
    await page.locator('.graph-box .node').first().waitFor()
    await page.getByRole('link', { name: 'Find' }).click()
    await arrived(page, /\/search\?q=last\+6h/)
    await page.locator('.result').first().waitFor()
  })

  it('takes a range from one time to another, in the viewer’s zone, and says what is wrong with it', async () => {
    const context = await tests.context
      .browser()!
      .newContext({ baseURL: tests.collector.web, timezoneId: 'Asia/Tokyo' })
    try {
      const page = await context.newPage()
      await page.goto('/services')
      await page.getByRole('combobox', { name: 'Time range' }).selectOption('From … to …')
      await page.getByLabel('From').fill('2025-06-15T18:30:00')
      await page.getByLabel('To', { exact: true }).fill('2025-06-15T18:30:00')
      await page.getByRole('button', { name: 'Apply' }).click()
      await page.getByText('The first time must be before the second.').waitFor()
      await page.getByLabel('To', { exact: true }).fill('2025-06-15T19:45:30')
      await page.getByRole('button', { name: 'Apply' }).click()
      await arrived(page, /from=2025-06-15T09%3A30%3A00Z&to=2025-06-15T10%3A45%3A30Z/)
      const chosen = page.getByRole('combobox', { name: 'Time range' }).locator('option:checked')
      assert.match(await shown(chosen), /15.*2025, 18:30:00 – 19:45:30/)
    } finally {
      await context.close()
    }
  })

  it('draws the graph of services, in which no label covers another or a box, and is walked by keys', async () => {
    const { page } = tests
    await page.goto('/graph')
    await page.locator('.graph-box .node').first().waitFor()
    assert.equal(await page.locator('.graph-box .node').count(), 7)
    const boxes = await page.evaluate(() =>
      [...document.querySelectorAll('.graph-box .edge text, .graph-box .node rect')].map(one => {
        const { left, top, right, bottom } = one.getBoundingClientRect()
        return { what: one.textContent || 'box', left, top, right, bottom }
      }),
    )
    assert.ok(boxes.length > 14, String(boxes.length))
    for (const [i, a] of boxes.entries()) {
      for (const b of boxes.slice(i + 1)) {
        const over = Math.min(a.right, b.right) - Math.max(a.left, b.left)
        const under = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)
        // A line of text is higher than its letters.
        assert.ok(over < 1 || under < 3, `${a.what} and ${b.what} overlap`)
      }
    }
    // The one stop of the Tab key within the picture.
    await page.getByRole('region', { name: 'Graph of services' }).focus()
    await page.keyboard.press('Tab')
    const focused = () => page.evaluate(() => document.activeElement?.textContent ?? '')
    const first = await focused()
    const nameOf = (label: string) => label.split(' ')[0]!
    await page.keyboard.press('ArrowRight')
    const second = await focused()
    assert.notEqual(nameOf(second), nameOf(first))
    await page.keyboard.press('Enter')
    const name = nameOf(second)
    await arrived(page, url => url.searchParams.get('service') === name)
    await page.locator('.graph-box .node.chosen').waitFor()
    await page.getByRole('heading', { name: `Calls from ${name}` }).waitFor()
    await page.getByRole('button', { name: '1 call away' }).click()
    await arrived(page, /hops=1/)
    await page.locator('.graph-box .node').first().waitFor()
    const pairs = (await ask(tests.collector.web)).edges.filter(
      (edge: { from: string; to: string }) => edge.from === name || edge.to === name,
    )
    assert.equal(await page.locator('.graph-box .edge .hit').count(), pairs.length)
  })
})

async function ask(web: string): Promise<{ edges: { from: string; to: string }[] }> {
  return (await fetch(`${web}/api/earlier/dependencies`)).json()
}
