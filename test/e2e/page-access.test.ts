import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createToken } from '../../collector/src/auth/credentials'
import { nothingSerious } from '../helpers/axe'
import { generateTrace } from '../helpers/generated-trace'
import {
  arrived,
  becomes,
  detailOf,
  drawn,
  pageTests,
  rowsOf,
  SHOP_ID,
  START_US,
  shop,
  webCollector,
} from '../helpers/page'
import { sendSpans } from '../helpers/send'
import { until } from '../helpers/until'

describe('the web page: accessibility, in Chromium', function () {
  this.timeout(90_000)
  const tests = pageTests()

  before(async () => {
    await sendSpans(tests.collector.scribe, shop)
    await sendSpans(
      tests.collector.scribe,
      generateTrace({ traceId: 1000n, spans: 1000, startUs: START_US + 1e6, skewUs: 20_000 }),
    )
    // For the services, who are counted where they are now.
    const startUs = Date.now() * 1000 - 60e6
    await sendSpans(tests.collector.scribe, generateTrace({ traceId: 1001n, spans: 200, startUs }))
    // To be compared: axe looks at every row.
    await sendSpans(tests.collector.scribe, generateTrace({ traceId: 60n, spans: 60, startUs: START_US + 2e6 }))
    const headers = { 'content-type': 'application/json' }
    const body = JSON.stringify({ name: 'All carts', query: 'q=service:cart' })
    const saved = await fetch(`${tests.collector.web}/api/saved-searches`, { method: 'POST', headers, body })
    assert.equal(saved.status, 201)
    // What was just stored may take a moment to be found.
    await until('the traces are found', async () => {
      const { traces } = await (await fetch(`${tests.collector.web}/api/search`)).json()
      return traces.length === 4
    })
    await until(
      'the services are counted',
      async () => (await (await fetch(`${tests.collector.web}/api/services`)).json()).services.length > 0,
      60_000,
    )
  })

  const pages: [what: string, path: string, mark: string][] = [
    ['the newest traces', '/', '.scatter canvas'],
    ['an empty result', '/search?q=name:Nobody%20last%201h', '.notice'],
    ['the fields', '/search?fields=1', '.fields'],
    ['a waterfall with a detail', `/trace/${SHOP_ID}?span=0000000000000002`, '.detail .events'],
    ['a large waterfall', '/trace/00000000000003e8?find=cart', '.row.matches'],
    ['the tree table', '/trace/00000000000003e8?tab=table', '.table tbody tr'],
    ['the call graph', `/trace/${SHOP_ID}?tab=graph`, '.graph-box svg'],
    ['the flame graph', '/trace/00000000000003e8?tab=flame', '.flame-box canvas'],
    ['the statistics', '/trace/00000000000003e8?tab=statistics', '.table tbody tr'],
    ['the comparison', `/trace/000000000000003c?tab=compare&with=${SHOP_ID}`, '.table tbody tr'],
    ['the JSON', `/trace/${SHOP_ID}?tab=json`, '.json'],
    ['the services', '/services?from=-24h', '.table tbody tr'],
    ['a service', '/services/web?from=-24h', '.totals'],
    ['the graph of services', '/graph?from=-24h&service=cart', '.graph-box .node.chosen'],
    ['an operation of a service', '/services/cart?from=-24h&name=Cart.list&side=server', '.totals, .notice'],
    ['what has changed', '/changes?moment=-5m', '.changes-table, .notice'],
    ['a time without calls', '/graph?from=-20m&to=-19m', '.notice'],
    ['a trace that is not there', '/trace/00000000000000ff', '.notice'],
  ]
  for (const [what, path, mark] of pages) {
    it(`has no serious axe violation on ${what}, in either theme`, async () => {
      const { page } = tests
      tests.expected = /Failed to load resource.*404/
      await page.goto(path)
      await page.locator(mark).first().waitFor()
      await nothingSerious(page)
    })
  }

  it('has no serious axe violation in its dialogs, in either theme', async () => {
    const { page } = tests
    await page.goto('/')
    await page.getByRole('button', { name: 'Manage' }).click()
    await page
      .getByRole('dialog')
      .getByText('q=service:cart')
      .or(page.getByRole('dialog').getByText('service:cart'))
      .waitFor()
    await nothingSerious(page)
    await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click()
    await page.getByRole('combobox', { name: 'Search' }).click()
    await page.getByRole('option').first().waitFor()
    await nothingSerious(page)
  })

  it('follows the system’s theme until another is chosen, and keeps the choice', async () => {
    const { page } = tests
    const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
    await page.emulateMedia({ colorScheme: 'light' })
    await page.goto('/')
    await page.getByRole('button', { name: /Current theme: system/ }).waitFor()
    const light = await paper()
    await page.emulateMedia({ colorScheme: 'dark' })
    const dark = await paper()
    assert.notEqual(light, dark)
    await page.getByRole('button', { name: /^Switch theme/ }).click()
    assert.equal(await paper(), light)
    await page.reload()
    assert.equal(await paper(), light)
    await page.getByRole('button', { name: /Current theme: light/ }).waitFor()
    await page.keyboard.press('t')
    await page.keyboard.press('t')
    await page.getByRole('button', { name: /Current theme: system/ }).waitFor()
    assert.equal(await paper(), dark)
  })

  it('lists its shortcuts at ?, including those of the page', async () => {
    const { page } = tests
    await page.goto(`/trace/${SHOP_ID}`)
    await rowsOf(page).first().waitFor()
    await page.keyboard.press('?')
    const dialog = page.getByRole('dialog')
    for (const text of ['zoom in', 'search within the trace', 'Call graph', 'this list'])
      await dialog.getByText(text).first().waitFor()
    await page.keyboard.press('Escape')
    await dialog.waitFor({ state: 'hidden' })
    await page.keyboard.press('2')
    await arrived(page, /tab=table/)
    await page.getByRole('table').first().waitFor()
    await page.keyboard.press('1')
    await page.getByRole('table').first().waitFor({ state: 'hidden' })
    await rowsOf(page).first().waitFor()
    await page.keyboard.press('f')
    await page.locator('input:focus').waitFor()
    await page.keyboard.type('?2t')
    assert.equal(await page.getByRole('searchbox').inputValue(), '?2t')
  })

  it('asks for a token where the collector wants one, and downloads with it', async () => {
    const { token, line } = createToken('me', 'read')
    const collector = await webCollector({ tokens: [line] })
    const context = await tests.context.browser()!.newContext({ baseURL: collector.web })
    try {
      await sendSpans(collector.scribe, shop)
      const page = await context.newPage()
      await page.goto(`/trace/${SHOP_ID}?tab=json&form=records`)
      await page.getByLabel('Token').fill(token)
      await page.getByRole('button', { name: 'Continue' }).click()
      await page.locator('pre.json').waitFor()
      const downloading = page.waitForEvent('download')
      await page.getByRole('link', { name: 'Download' }).click()
      const download = await downloading
      assert.equal(download.suggestedFilename(), `trace-${SHOP_ID}.records.json`)
      const answer = await fetch(`${collector.web}/api/traces/${SHOP_ID}?form=records`, {
        headers: { authorization: `Bearer ${token}` },
      })
      assert.equal(readFileSync(await download.path(), 'utf8'), await answer.text())

      await page.evaluate(() => sessionStorage.setItem('milo.token', 'another'))
      await page.getByRole('link', { name: 'Download' }).click()
      const alert = page.getByRole('alert')
      await alert.getByText('These credentials are not known').waitFor()
      await alert.getByLabel('Token').fill(token)
      const again = page.waitForEvent('download')
      await alert.getByRole('button', { name: 'Continue' }).click()
      await again
      await alert.waitFor({ state: 'hidden' })
    } finally {
      await context.close()
    }
  })

  it('shows times in the viewer’s zone, and UTC in a tooltip', async () => {
    const browser = tests.context.browser()!
    const context = await browser.newContext({ baseURL: tests.collector.web, timezoneId: 'Asia/Tokyo' })
    try {
      const page = await context.newPage()
      await page.goto(`/trace/${SHOP_ID}`)
      const time = page.locator('.facts time')
      await time.waitFor()
      const utc = new Date(START_US / 1000).toISOString()
      assert.equal(await time.getAttribute('title'), `${utc} (UTC)`)
      const hour = (Number(utc.slice(11, 13)) + 9) % 24
      assert.match(
        (await time.textContent())!,
        new RegExp(`, ${String(hour).padStart(2, '0')}:\\d\\d:\\d\\d\\.\\d{3}$`),
      )
    } finally {
      await context.close()
    }
  })

  it('moves nothing while it loads', async () => {
    const { page } = tests
    await page.addInitScript(() => {
      Object.assign(window, { shift: 0 })
      new PerformanceObserver(list => {
        for (const entry of list.getEntries()) {
          if (!(entry as unknown as { hadRecentInput: boolean }).hadRecentInput) {
            ;(window as unknown as { shift: number }).shift += (entry as unknown as { value: number }).value
          }
        }
      }).observe({ type: 'layout-shift', buffered: true })
    })
    for (const [path, mark] of [
      ['/', '.scatter canvas'],
      ['/trace/00000000000003e8', '.row'],
      [`/trace/${SHOP_ID}?span=0000000000000002`, '.detail .events'],
    ] as const) {
      await page.goto(path)
      await page.locator(mark).first().waitFor()
      await drawn(page)
      // What is good by the Web Vitals' measure is below 0.1.
      const shift = await page.evaluate(() => (window as unknown as { shift: number }).shift)
      assert.ok(shift < 0.05, `${path}: ${shift}`)
    }
  })

  it('has a link that skips the header, and a title that names the trace', async () => {
    const { page } = tests
    await page.goto(`/trace/${SHOP_ID}`)
    await rowsOf(page).first().waitFor()
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    assert.equal(await page.evaluate(() => document.activeElement?.id), 'main')
    await becomes(() => page.title(), 'POST /checkout – Milo')
    await page.goto(`/trace/${SHOP_ID}?span=0000000000000002`)
    await detailOf(page).getByRole('button', { name: 'Close' }).click()
    await arrived(page, url => !url.searchParams.has('span'))
  })
})
