import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { generateTrace } from '../helpers/generated-trace'
import { arrived, becomes, detailOf, loaded, pageTests, rowsOf, START_US, says } from '../helpers/page'
import { sendSpans } from '../helpers/send'
import { until } from '../helpers/until'

describe('the web page: large traces, in Chromium', function () {
  this.timeout(240_000)
  const tests = pageTests()

  for (const [id, spans] of [
    ['000000000000000a', 10],
    ['0000000000002710', 10_000],
    ['0000000000013880', 80_000],
  ] as const) {
    it(`shows ${spans.toLocaleString('en')} spans in every view, with only the visible rows in the page`, async () => {
      const { page } = tests
      page.setDefaultTimeout(120_000)
      await sendSpans(tests.collector.scribe, generateTrace({ traceId: BigInt(`0x${id}`), spans, startUs: START_US }))
      await page.goto(`/trace/${id}`)
      await loaded(page)
      await says(page.locator('.facts'), new RegExp(`Spans ${spans.toLocaleString('en-US')}`))
      assert.ok((await rowsOf(page).count()) <= 120)

      await page.getByRole('tree').focus()
      await page.keyboard.press('End')
      const last = page.getByRole('treeitem', { selected: true })
      await last.waitFor()
      const { height } = page.viewportSize()!
      await until('the last row is in view', async () => {
        const box = await last.boundingBox()
        return box !== null && box.y >= 0 && box.y + box.height <= height
      })
      await detailOf(page)
        .getByRole('heading', { name: (await last.locator('.name').textContent())!, exact: true })
        .waitFor()
      await page.keyboard.press('z')
      await arrived(page, /from=/)
      await page.keyboard.press('0')

      await page.keyboard.press('Home')
      await page.getByRole('button', { name: 'Fold all' }).click()
      await until('all are folded', async () => (await rowsOf(page).count()) <= 13)
      await page.getByRole('searchbox').fill(`user=${spans % 100 === 10 ? 7 : 42}`)
      await page
        .locator('.within-count')
        .getByText(/^[\d,]+$/)
        .waitFor()
      await page.getByRole('button', { name: 'Next match' }).click()
      await page.locator('.row.matches').first().waitFor()

      await page.getByRole('link', { name: 'Tree table' }).click()
      await page.locator('.table tbody tr').first().waitFor()
      await page.getByRole('link', { name: 'Call graph' }).click()
      await page.locator('.graph-box .node').first().waitFor()
      await page.getByRole('link', { name: 'Flame graph' }).click()
      await page.locator('.flame-box canvas').waitFor()
      await page.getByRole('link', { name: 'Statistics' }).click()
      await becomes(async () => {
        const counts = await page.locator('.table tbody tr td:nth-child(3)').allTextContents()
        return counts.reduce((sum, text) => sum + Number(text.replace(/\D/g, '')), 0)
      }, spans)
      await page.getByRole('link', { name: 'JSON' }).click()
      await page.locator('.json').getByText(`"traceId": "${id}"`).waitFor()
    })
  }

  it('shows the progress of a trace on a slow network, and its first spans meanwhile', async () => {
    const trace = generateTrace({ traceId: 0x4e20n, spans: 20_000, startUs: START_US })
    await sendSpans(tests.collector.scribe, trace)
    const slow = await slowProxy(tests.collector.web)
    const context = await tests.context.browser()!.newContext({ baseURL: slow.web })
    try {
      const page = await context.newPage()
      page.setDefaultTimeout(120_000)
      await page.goto('/trace/0000000000004e20')
      await rowsOf(page).first().waitFor()
      const bar = page.getByRole('progressbar', { name: 'Loading the trace' })
      const part = Number(await bar.getAttribute('value')) / Number(await bar.getAttribute('max'))
      assert.ok(part > 0 && part < 0.5, String(part))
      await says(page.locator('.loading-bar'), /^[\d,]+ of 20,000 spans$/)
      await page.getByRole('link', { name: 'Statistics' }).click()
      await page.getByText('Loading the rest of the trace').waitFor()
      slow.goOn()
      await bar.waitFor({ state: 'detached' })
      await page.locator('.table tbody tr').first().waitFor()
    } finally {
      await context.close()
      slow.close()
    }
  })
})

/** In front of the collector: of a trace the first part passes, and the rest once it may. */
async function slowProxy(web: string): Promise<{ web: string; goOn(): void; close(): void }> {
  let goOn = () => {}
  const released = new Promise<void>(resolve => {
    goOn = resolve
  })
  const proxy = createServer(async (request, response) => {
    const answer = await fetch(web + request.url, { headers: { accept: request.headers.accept ?? '' } })
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' })
    let passed = 0
    for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) {
      if (request.url!.startsWith('/api/traces/') && passed > FIRST_PART) await released
      passed += chunk.length
      response.write(chunk)
    }
    response.end()
  })
  await new Promise<void>(resolve => proxy.listen(0, '127.0.0.1', resolve))
  const { port } = proxy.address() as AddressInfo
  return { web: `http://127.0.0.1:${port}`, goOn, close: () => proxy.close() }
}

/** Bytes: some thousand spans. */
const FIRST_PART = 1_000_000
