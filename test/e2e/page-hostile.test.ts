import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import type { Page } from 'playwright-core'
import { EventType, type SpanRecord } from '../../src/codec/span'
import { arrived, findResult, fits, pageTests, rowsOf, SHOP_ID, server, shop } from '../helpers/page'
import { sendSpans } from '../helpers/send'
import { until } from '../helpers/until'

const traceId = 0xabcdn
const ID = '000000000000abcd'
const LONG = 'x'.repeat(10_000)

/** Names of any length and script, times of any kind. */
const hostile: SpanRecord[] = [
  server({ traceId, id: 1n, name: LONG, service: `service-${LONG.slice(0, 500)}`, from: 0, ms: 80 }),
  server({
    traceId,
    id: 2n,
    parentId: 1n,
    name: 'שלום עולם مرحبا '.repeat(60),
    service: 'שירות '.repeat(30),
    from: 1,
    ms: 0,
  }),
  server({ traceId, id: 3n, parentId: 1n, name: '👩‍👩‍👧‍👦'.repeat(200), service: '🦊'.repeat(100), from: 2, ms: 7 }),
  server({
    traceId,
    id: 4n,
    parentId: 1n,
    name: 'a',
    service: 'b',
    from: 3,
    ms: 1,
    annotations: new Map([['k'.repeat(200), LONG.slice(0, 4000)]]),
  }),
  server({ traceId, id: 5n, parentId: 2n, name: '', service: '', from: 4, ms: 1 }),
]

const at = (traceId: bigint, us: bigint, lengthUs: bigint, more: SpanRecord = {}): SpanRecord => ({
  traceId,
  id: traceId,
  name: 'odd time',
  service: 'odd',
  events: [
    { timestamp: us, eventType: EventType.SERVER_RECV },
    { timestamp: us + lengthUs, eventType: EventType.SERVER_SEND },
  ],
  ...more,
})

const openTab = (page: Page, name: string) => page.getByRole('link', { name, exact: true }).click()

describe('the web page with hostile data, in Chromium', function () {
  this.timeout(90_000)
  const tests = pageTests()

  it('is never wider than the window, whatever names it shows', async () => {
    const { page } = tests
    await sendSpans(tests.collector.scribe, hostile)
    const recent = BigInt(Date.now()) * 1000n - 60_000_000n
    // For the services, who are counted where they are now; a call between the two longest.
    await sendSpans(tests.collector.scribe, [
      at(0xbeefn, recent, 5000n, { service: LONG.slice(0, 3000), name: LONG }),
      at(0xbeefn, recent + 1000n, 3000n, {
        id: 0xbef0n,
        parentId: 0xbeefn,
        service: '🦊'.repeat(200),
        name: LONG.slice(1),
      }),
      {
        ...at(0xbeefn, 0n, 0n, { id: 0xbef0n, parentId: 0xbeefn, service: LONG.slice(0, 3000), name: LONG.slice(1) }),
        events: [
          { timestamp: recent + 900n, eventType: EventType.CLIENT_SEND },
          { timestamp: recent + 4500n, eventType: EventType.CLIENT_RECV },
        ],
      },
    ])
    await findResult(page, '/search', 'no name|x'.slice(8))
    // As they are counted: long names are cut.
    const counted = await until(
      'the services are counted',
      async (): Promise<{ service: string }[] | undefined> => {
        const ask = async (path: string) => (await fetch(`${tests.collector.web}/api/${path}`)).json()
        const { services } = await ask('services')
        return (await ask('dependencies')).edges.length > 0 ? services : undefined
      },
      60_000,
    )
    const places = [
      '/search',
      '/services?from=-24h',
      ...counted.map(({ service }) => `/services/${encodeURIComponent(service)}`),
      '/graph?from=-24h',
      `/trace/${ID}?tab=compare&with=${ID}`,
      `/trace/${ID}?tab=table&top=0000000000000002`,
      `/trace/${ID}?span=0000000000000001`,
      `/trace/${ID}`,
    ]
    const folder = process.env.MILO_TEST_SHOTS
    if (folder !== undefined) mkdirSync(folder, { recursive: true })
    let shot = 0
    const fitsIn = async (place: string) => {
      await page.locator('.result, .table, .row, .graph-box .node, .flame-box canvas, pre.json').first().waitFor()
      for (const width of [1280, 360]) {
        await fits(page, place, [width])
        const tables = await page
          .locator('.table-box')
          .evaluateAll(boxes => boxes.map(box => box.scrollWidth - (innerWidth < 640 ? 1200 : box.clientWidth)))
        assert.ok(
          tables.every(wide => wide <= 0),
          `a table of ${place} at ${width} px: ${tables}`,
        )
        if (folder !== undefined) await page.screenshot({ path: `${folder}/${shot++}-${width}.png` })
      }
    }
    for (const place of places) {
      await page.goto(place)
      await fitsIn(place)
    }
    for (const tab of ['Tree table', 'Call graph', 'Flame graph', 'Statistics', 'JSON']) {
      await openTab(page, tab)
      await fitsIn(tab)
    }
  })

  it('shows traces of any time and duration, and does not let one of them spoil the plot of all', async () => {
    const { page } = tests
    const now = BigInt(Date.now()) * 1000n
    const odd: SpanRecord[] = [
      at(0x1001n, 1_796_000_000_000_000_000n, 5n),
      at(0x1002n, 9_223_372_036_854_000_000n, 0n),
      at(0x1003n, now, 9_000_000_000_000_000_000n - now),
      at(0x1004n, now, -5_000n),
      at(0x1005n, -9_000_000_000_000_000_000n, 18_000_000n),
      at(0x1006n, 0n, 0n),
    ]
    const usual = Array.from({ length: 12 }, (_, i) => at(BigInt(0x2000 + i), now - BigInt(i) * 1_000_000n, 4000n))
    await sendSpans(tests.collector.scribe, [...odd, ...usual])
    for (const { traceId } of odd) {
      await page.goto(`/trace/${traceId!.toString(16).padStart(16, '0')}`)
      await rowsOf(page).first().waitFor()
      for (const [tab, content] of [
        ['Tree table', '.summary'],
        ['Call graph', '.graph-box .node'],
        ['Flame graph', '.flame-box canvas'],
        ['Statistics', '.table'],
      ] as const) {
        await openTab(page, tab)
        await page.locator(`${content}, .notice`).first().waitFor()
        assert.equal(await page.getByRole('alert').count(), 0, `${traceId!.toString(16)} ${tab}`)
      }
    }
    await findResult(page, '/search?q=service%3Aodd&limit=50', 'odd time')
    await page.getByText(/far from the others in time or duration and (isn't|aren't) drawn/).waitFor()
    await page.locator('.scatter canvas').waitFor()
    await page.getByRole('button', { name: 'Draw all' }).click()
    await page.getByRole('button', { name: 'Leave them out' }).waitFor()
    await page.locator('.scatter canvas').waitFor()
  })

  it('reports that Graphviz or another worker failed, and tries again on request', async () => {
    const { page } = tests
    await sendSpans(tests.collector.scribe, shop)
    // What the browser says of it.
    tests.expected = /Failed to load resource|WebAssembly|Content Security Policy|wasm|worker/i
    const refused = '**/assets/graph-worker-*.js'
    await page.route(refused, async route => {
      const response = await route.fetch()
      const headers = { ...response.headers(), 'content-security-policy': "default-src 'self'" }
      await route.fulfill({ response, headers })
    })
    await page.goto(`/trace/${SHOP_ID}?tab=graph`)
    await page.getByRole('heading', { name: "The graph couldn't be laid out" }).waitFor()
    await page.getByText('The tree table shows the same calls.').waitFor()
    await page.unroute(refused)
    await page.getByRole('button', { name: 'Try again' }).click()
    await page.locator('.graph-box .node').first().waitFor()

    for (const [worker, place, title] of [
      ['graph-worker', `/trace/${SHOP_ID}?tab=graph`, "The graph couldn't be laid out"],
      ['compare-worker', `/trace/${SHOP_ID}?tab=compare&with=${SHOP_ID}`, "The traces couldn't be compared"],
      ['trace-worker', `/trace/${SHOP_ID}`, "The trace couldn't be read"],
    ] as const) {
      await page.route(`**/assets/${worker}-*.js`, route => route.abort())
      await page.goto(place)
      await page.getByRole('heading', { name: title }).waitFor()
      await page.unroute(`**/assets/${worker}-*.js`)
      await page.getByRole('button', { name: 'Try again' }).click()
      await page.getByRole('heading', { name: title }).waitFor({ state: 'detached' })
    }
  })

  it('shows an error in place of a part that throws, and recovers on request', async () => {
    const { page } = tests
    await sendSpans(tests.collector.scribe, shop)
    await findResult(page, '/search', 'POST /checkout')
    // What no collector of this version answers, as one might that has been updated beneath an old page.
    tests.expected = /TypeError|RangeError|Cannot read/
    await page.route('**/api/search?*', route => route.fulfill({ json: { traces: [{ traceId: 'a' }], next: null } }))
    await page.keyboard.press('r')
    await page.getByRole('heading', { name: "This page can't be shown" }).waitFor()
    await page.getByText(/This is a bug in the page: (Type|Range)Error/).waitFor()
    await page.unroute('**/api/search?*')
    await page.getByRole('button', { name: 'Try again' }).click()
    await page.locator('.result').first().waitFor()
  })

  it('reports a silent collector instead of loading forever', async () => {
    const { page } = tests
    await sendSpans(tests.collector.scribe, shop)
    await findResult(page, '/search', 'POST /checkout')
    await page.clock.install()
    const silent = '**/api/**'
    await page.route(silent, () => {})
    for (const [place, waits, titles] of [
      ['search', 'Loading traces', ['The search failed']],
      ['services', 'Loading services', ["The services couldn't be read"]],
      ['graph', 'Loading the calls between services', ["The calls between services couldn't be read"]],
    ] as const) {
      await page.goto(`/${place}`)
      await page.getByText(waits).waitFor()
      await page.clock.fastForward(61_000)
      for (const name of titles) await page.getByRole('heading', { name }).waitFor()
      await page.getByText("didn't answer").first().waitFor()
    }
    await page.unroute(silent)
    await page.getByRole('button', { name: 'Try again' }).click()
    await page.getByRole('alert').waitFor({ state: 'detached' })
  })

  it('handles shortcuts while a checkbox has the focus, except the checkbox’s own key', async () => {
    const { page } = tests
    await sendSpans(tests.collector.scribe, shop)
    await page.goto(`/trace/${SHOP_ID}`)
    const box = page.getByRole('checkbox').first()
    const checked = await box.isChecked()
    await box.focus()
    await page.keyboard.press('Space')
    assert.equal(await box.isChecked(), !checked)
    await page.keyboard.press('2')
    await arrived(page, /tab=table/)
    await page.getByRole('textbox', { name: 'Trace id' }).focus()
    await page.keyboard.press('1')
    await arrived(page, /tab=table/)
    assert.equal(await page.getByRole('textbox', { name: 'Trace id' }).inputValue(), '1')
  })
})
