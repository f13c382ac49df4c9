import assert from 'node:assert/strict'
import { EventType, type SpanRecord } from '../../src/codec/span'
import { nothingSerious } from '../helpers/axe'
import { generateTrace } from '../helpers/generated-trace'
import { arrived, becomes, counts, drag, drawn, fits, pageTests, says, shown } from '../helpers/page'
import { sendSpans } from '../helpers/send'
import { until } from '../helpers/until'

/** When the cart gets slower: a whole minute, some minutes ago. */
const MINUTE_US = 60e6
const SLOWER_US = Math.floor((Date.now() * 1000) / MINUTE_US - 10) * MINUTE_US
const TRACES = 400

/**
 * A shop for twenty minutes: web asks cart, and cart asks mysql, which reports nothing. From SLOWER_US on the cart takes five times as
 * long by itself, as of its version v2. Every eighth trace fails in cart. Half of the calls are sampled.
 */
function shopTraces(): SpanRecord[] {
  const records: SpanRecord[] = []
  for (let i = 0; i < TRACES; i++) {
    // An odd factor, so that the low bits, by which traces are grouped, are as mixed as those of random ids.
    const traceId = BigInt.asUintN(63, BigInt(i + 1) * 0x9e3779b97f4a7c15n)
    const start = SLOWER_US - 9 * MINUTE_US + Math.floor((i * 18 * MINUTE_US) / TRACES)
    const own = (start < SLOWER_US ? 8_000 : 40_000) + ((i * 37) % 100) * 20
    const half = (
      fields: Partial<SpanRecord>,
      types: [EventType, EventType],
      from: number,
      to: number,
    ): SpanRecord => ({
      ...{ traceId, probability: 0.5 },
      ...fields,
      events: [
        { timestamp: BigInt(start + from), eventType: types[0] },
        { timestamp: BigInt(start + to), eventType: types[1] },
      ],
    })
    const server: [EventType, EventType] = [EventType.SERVER_RECV, EventType.SERVER_SEND]
    const client: [EventType, EventType] = [EventType.CLIENT_SEND, EventType.CLIENT_RECV]
    const version: [string, string] = ['service.version', start < SLOWER_US ? 'v1' : 'v2']
    const annotations = new Map([version, ...(i % 8 === 0 ? [['error.type', 'TIMEOUT'] as const] : [])])
    records.push(
      half({ id: 1n, name: 'POST /checkout', service: 'web' }, server, 0, own + 8_000),
      half({ id: 2n, parentId: 1n, name: 'Cart.total', service: 'web' }, client, 1_000, own + 7_000),
      half({ id: 2n, parentId: 1n, name: 'Cart.total', service: 'cart', annotations }, server, 2_000, own + 6_000),
      half(
        { id: 3n, parentId: 2n, name: 'SELECT', service: 'cart', annotations: new Map([['peer.service', 'mysql']]) },
        client,
        3_000,
        5_000,
      ),
      half({ id: 4n, parentId: 1n, name: 'Mail.send', service: 'web' }, client, own + 7_100, own + 7_900),
      half({ id: 4n, parentId: 1n, name: 'Mail.send', service: 'mail' }, server, own + 7_200, own + 7_800),
    )
  }
  return records
}

describe('the web page: services, in Chromium', function () {
  this.timeout(90_000)
  const tests = pageTests()
  const ask = async (path: string): Promise<any> => (await fetch(`${tests.collector.web}${path}`)).json()

  before(async () => {
    await sendSpans(tests.collector.scribe, shopTraces())
    // For the graph, at another time.
    const startUs = Date.now() * 1000 - 180 * MINUTE_US
    for (let i = 1n; i <= 5n; i++) {
      await sendSpans(tests.collector.scribe, generateTrace({ traceId: i, spans: 200, startUs }))
    }
    await until('all is stored', async () => (await ask('/api/status')).backlogSpans === 0, 60_000)
    await until('the services are counted', async () => (await ask('/api/services')).services.length === 3, 60_000)
  })

  it('tells where nothing was reported', async () => {
    const { page } = tests
    for (const path of ['services', 'services/cart', 'graph']) {
      await page.goto(`/${path}?from=2020-01-01T00:00Z&to=2020-01-02T00:00Z`)
      await page.getByRole('heading', { name: /^(Nothing was reported|No calls between services)/ }).waitFor()
    }
    await page.goto('/changes?from=2020-01-01T00:00Z&to=2020-01-02T00:00Z')
    await page.getByRole('heading', { name: 'There is nothing to compare' }).waitFor()
  })

  it('lists services with rates, errors and percentiles, and how certain they are', async () => {
    const { page } = tests
    await page.goto('/')
    await page.getByRole('link', { name: 'Services' }).click()
    const lines = page.locator('.table tbody tr')
    await lines.first().waitFor()
    await counts(lines, 3)
    const line = lines.filter({ has: page.getByRole('link', { name: 'cart', exact: true }) })
    // 400 traces in an hour, each of which stands for two.
    const { from, to, services } = await ask('/api/services')
    const { calls } = services.find(({ service }: { service: string }) => service === 'cart')
    assert.ok(Math.abs(calls.value - 2 * TRACES) < 1)
    const [, rate, margin] = /([\d.]+)\/min ± ([\d.]+)/.exec(await shown(line))!
    const minutes = (to - from) / MINUTE_US
    assert.ok(Math.abs(Number(rate) - calls.value / minutes) < 0.2)
    assert.ok(Math.abs(Number(margin) - (calls.high - calls.value) / minutes) < 0.2)
    await says(line, /1[23](\.\d)?% [±+]/)
    await line.getByRole('link', { name: 'failed' }).click()
    await arrived(page, /\/trace\//)
    await page.locator('.facts').getByRole('button', { name: '1 error' }).waitFor()
  })

  it('shows a service over time, its operations, its callers and callees, and the series of each', async () => {
    const { page } = tests
    await page.goto('/services')
    await page.getByRole('link', { name: 'cart', exact: true }).click()
    await arrived(page, /services\/cart\?from=-1h/)
    for (const title of ['Rate', 'Failed', 'Latency'])
      await page
        .getByRole('img', { name: `${title} over time` })
        .locator('canvas')
        .waitFor()
    await page.getByText('The same as a table').click()
    const steps = page.getByRole('table', { name: 'Figures over time' }).locator('tbody tr')
    // A row for each step that has calls.
    await steps.nth(16).waitFor()
    const slower = await steps.evaluateAll(rows => rows.map(row => row.children[3]!.textContent!))
    const median = (text: string) => Number.parseFloat(text)
    assert.ok(median(slower.at(-2)!) > 3 * median(slower[1]!), `${slower}`)

    const callers = page.getByRole('table', { name: 'Who calls it' }).locator('tbody tr')
    await says(callers, /^web POST \/checkout Cart\.total /)
    const callees = page.getByRole('table', { name: 'Whom it calls' }).locator('tbody tr')
    await says(callees, /^Cart\.total mysql SELECT /)
    await page
      .getByRole('table', { name: 'Operations of cart' })
      .getByRole('link', { name: 'Cart.total', exact: true })
      .click()
    await arrived(page, /name=Cart\.total&side=server/)
    await page.locator('.subject').getByText('Cart.total (server)').waitFor()
    await page.locator('tr.chosen').getByText('Cart.total').waitFor()
    await callers.getByRole('link', { name: /^Chart of/ }).click()
    await arrived(page, /caller=web&callee=cart&callerName=POST/)
    await page.locator('.subject').getByText('web POST /checkout → cart Cart.total').waitFor()
    await page.locator('.time-chart canvas').first().waitFor()
    await page.getByRole('link', { name: 'Show the whole service' }).click()
    await arrived(page, /services\/cart\?from=-1h$/)
    await page.getByRole('link', { name: 'Traces with errors' }).click()
    await arrived(page, /\/search\?q=service%3Acart\+error\+last\+1h/)
    await page.locator('.result').first().waitFor()
  })

  it('draws the time before beneath, and marks when versions were first seen', async () => {
    const { page } = tests
    const at = (minutes: number) => new Date((SLOWER_US + minutes * MINUTE_US) / 1000).toISOString()
    await page.goto(`/services/cart?from=${at(-5)}&to=${at(5)}`)
    await page.getByText('the 10 min before').first().waitFor()
    const versions = page.getByText(/^Versions first seen:/)
    await versions.waitFor()
    await says(versions, /^Versions first seen: v2 at .*, what changed\?/)
    await page.goto('/services/cart')
    await versions.waitFor()
    await says(versions, /v1 at .*, what changed\? v2 at .*, what changed\?/)
    await versions.getByRole('link').nth(1).click()
    await arrived(page, /changes\?from=-1h&moment=2.*Z&service=cart/)
    const moment = Date.parse(new URL(page.url()).searchParams.get('moment')!)
    assert.ok(Math.abs(moment - SLOWER_US / 1000) < 60_000, `${moment}`)
  })

  it('opens an operation with its own callers and callees, in sight and with the keyboard there', async () => {
    const { page } = tests
    await page.setViewportSize({ width: 1000, height: 600 })
    await page.goto('/services/web')
    await page.getByRole('button', { name: /^Whom it calls \(2\)$/ }).click()
    await page.waitForFunction(() => document.activeElement?.textContent === 'Whom it calls')
    const operations = page.getByRole('table', { name: 'Operations of web' })
    await operations.getByRole('link', { name: 'Mail.send', exact: true }).click()
    await arrived(page, /name=Mail\.send&side=client/)
    await page.waitForFunction(() => document.activeElement?.textContent?.trim() === 'Mail.send (client)')
    const callees = page.getByRole('table', { name: 'Whom it calls' }).locator('tbody tr')
    await callees.first().waitFor()
    await counts(callees, 1)
    await says(callees, /mail Mail\.send/)
    await becomes(() => page.evaluate(() => scrollY < 100), true)
  })

  it('draws databases as cylinders, and scrolls to what is known of the one that is chosen', async () => {
    const { page } = tests
    await page.setViewportSize({ width: 1000, height: 500 })
    await page.goto('/graph')
    const mysql = page.locator('.graph-box .node', { hasText: 'mysql' })
    await mysql.locator('path.shape').waitFor()
    await becomes(() => mysql.innerHTML(), /database/)
    await page.getByRole('list', { name: 'Legend' }).getByText('database').waitFor()
    await counts(page.locator('.graph-box .node path.shape'), 1)
    await mysql.click()
    const panel = page.getByRole('region', { name: 'mysql', exact: true })
    await page.waitForFunction(() => document.activeElement?.getAttribute('aria-label') === 'mysql')
    const { y } = (await panel.boundingBox())!
    assert.ok(y < 500, `${y}`)
    await says(panel.locator('tbody tr'), /^cart .*\/min/)
  })

  it('has pages at /upload, /dependencies and wrong addresses, which lead on', async () => {
    const { page } = tests
    await page.goto('/dependencies')
    await page.getByRole('heading', { name: 'Graph of services' }).waitFor()
    await page.goto('/upload')
    await page.getByRole('heading', { name: 'Upload a trace' }).waitFor()
    await page.getByText(`${tests.collector.web}/api/traces`).waitFor()
    tests.expected = /status of 404/
    const answer = await page.goto('/zipkin/traces/00000000000000000000000000000001')
    assert.equal(answer!.status(), 404)
    await page.getByRole('heading', { name: 'There is no such page' }).waitFor()
    await nothingSerious(page)
    await page.getByRole('link', { name: /^trace / }).click()
    await arrived(page, /\/trace\/0{31}1$/)
    await page.goto('/nothing')
    await page.getByRole('main').getByRole('link', { name: 'Services' }).click()
    await arrived(page, url => url.pathname === '/services')
    await page.locator('.table tbody tr').first().waitFor()
  })

  it('fits into 360 pixels, where wide tables scroll in their boxes, and has no serious problem for axe', async () => {
    const { page } = tests
    await page.setViewportSize({ width: 360, height: 740 })
    for (const path of [
      'services',
      'services/cart',
      'services/web?name=Mail.send&side=client',
      'graph',
      'changes',
      'upload',
    ]) {
      await page.goto(`/${path}`)
      await page
        .locator(path === 'upload' ? '.notice' : '.table tbody tr')
        .first()
        .waitFor()
      await page.waitForLoadState('networkidle')
      await fits(page, path, [360])
      await nothingSerious(page)
    }
    // The last column can be reached.
    await page.goto('/services')
    const last = page.locator('.table tbody tr').first().locator('td').last()
    await last.scrollIntoViewIfNeeded()
    const { x, width } = (await last.boundingBox())!
    assert.ok(x >= 0 && x + width <= 361, `${x} ${width}`)
  })

  it('zooms into what is dragged over in a chart, and compares before and after the moment that is clicked', async () => {
    const { page } = tests
    await page.goto('/services/cart')
    const chart = page.getByRole('img', { name: 'Latency over time' }).locator('.u-over')
    const versions = page.getByText(/^Versions first seen:/)
    /** The charts are drawn anew with each answer: of the versions, and of the time before. */
    const pick = async () => {
      await versions.waitFor()
      await page.waitForLoadState('networkidle')
      await drawn(page)
      const { width, height } = (await chart.boundingBox())!
      await chart.click({ position: { x: 0.75 * width, y: height / 2 } })
    }
    await pick()
    const link = page.getByRole('link', { name: /^What changed at / })
    await link.waitFor()
    await drag(chart, [0.5, 0.5], [0.9, 0.5])
    await arrived(page, /services\/cart\?from=2.*Z&to=2.*Z/)
    const { searchParams } = new URL(page.url())
    const [from, to] = ['from', 'to'].map(name => Date.parse(searchParams.get(name)!))
    assert.ok(Math.abs((to! - from!) / 60_000 - 24) < 2, `${from} ${to}`)
    await page.goto('/services/cart?from=-1h')
    await pick()
    await link.click()
    await arrived(page, /changes\?from=-1h&moment=2.*Z&service=cart/)
    await page.getByRole('textbox', { name: 'Moment' }).waitFor()
  })

  it('finds what changed at a moment: the slower cart before those that wait for it, and its series and traces', async () => {
    const { page } = tests
    const moment = new Date(SLOWER_US / 1000).toISOString()
    await page.goto(`/changes?moment=${moment}&span=10m`)
    const rows = page.locator('.changes-table tbody tr')
    await rows.first().waitFor()
    const texts = await rows.allInnerTexts()
    const origins = texts.filter(text => text.includes('likely origin'))
    assert.ok(origins.length > 0 && origins.every(text => text.includes('Cart.total')), texts.join('\n'))
    assert.ok(!texts.some(text => text.includes('Mail.send')), 'what is as it was')
    const origin = rows.filter({ hasText: 'likely origin' }).first()
    await says(origin, /1\d(\.\d+)? ms → 4\d(\.\d+)? ms ↑/)
    await origin.getByRole('button').click()
    await page.locator('.change-detail canvas').nth(2).waitFor()
    await page.locator('.change-detail').getByRole('link', { name: 'Its page' }).click()
    await arrived(page, /\/services\/cart\?from=2/)
    await page.locator('.time-chart canvas').first().waitFor()

    // By default the range is compared with the time before it, to which it is next.
    await page.goto('/changes')
    await page.getByText(/^Nothing was reported from .* so all of .* is new\.$/).waitFor()
    assert.equal(await page.locator('.changes-table .origin').count(), 0)
    await page.goto('/changes?moment=-5m&span=10m')
    await page.getByRole('combobox', { name: 'Compare' }).selectOption('with a day earlier')
    await arrived(page, /against=day/)
    await page.locator('.changes-table .tag').getByText('new').first().waitFor()
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
      await says(chosen, /15.*2025, 18:30:00 – 19:45:30/)
    } finally {
      await context.close()
    }
  })

  it('draws the graph of services, in which no label covers another or a box, and is walked by keys', async () => {
    const { page } = tests
    await page.goto('/graph?from=-4h&to=-2h')
    await page.locator('.graph-box .node').first().waitFor()
    await counts(page.locator('.graph-box .node'), 7)
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
    const pairs = (await ask('/api/dependencies?from=-4h&to=-2h')).edges.filter(
      (edge: { from: string; to: string }) => edge.from === name || edge.to === name,
    )
    await counts(page.locator('.graph-box .edge .hit'), pairs.length)
  })
})
