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
    await page.getByText('Nothing was reported in the last hour').waitFor()
    const startUs = Date.now() * 1000 - 120e6
    for (let i = 1n; i <= 5n; i++) {
      const records = generateTrace({ traceId: i, spans: 200, startUs: startUs + Number(i) * 10e6 })
      // Each stands for ten.
      for (const record of records) record.probability = 0.1
      await sendSpans(tests.collector.scribe, records)
    }
    const ask = async (path: string): Promise<any> => (await fetch(`${tests.collector.web}${path}`)).json()
    const count = async (): Promise<number | undefined> =>
      (await ask('/api/services')).services.find((one: { service: string }) => one.service === 'web')?.spans
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

    await page.getByRole('button', { name: 'cart', exact: true }).first().click()
    await arrived(page, /service=cart/)
    await page.locator('.latency canvas').waitFor()
    await page.locator('.graph-box .node.chosen').waitFor()
    assert.equal(await page.locator('.graph-box .node').count(), 7)
    await page.getByRole('link', { name: 'Traces', exact: true }).click()
    await arrived(page, /\/search\?q=service%3Acart\+last\+1h/)
    await page.locator('.result').first().waitFor()
    assert.equal(await page.locator('.result').count(), 5)
  })

  it('restores its state from the address', async () => {
    const { page } = tests
    await page.goto('/services?service=cart&last=6h')
    await page.locator('.latency canvas').waitFor()
    await page.getByRole('button', { name: 'Last 6 hours', pressed: true }).waitFor()
  })
})
