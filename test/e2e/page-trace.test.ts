import assert from 'node:assert/strict'
import type { Page } from 'playwright-core'
import { generateTrace } from '../helpers/generated-trace'
import {
  arrived,
  becomes,
  client,
  counts,
  detailOf,
  drag,
  drawn,
  fits,
  loaded,
  pageTests,
  rowsOf,
  SHOP_ID,
  START_US,
  says,
  server,
  shop,
  shown,
} from '../helpers/page'
import { sendSpans } from '../helpers/send'

const SKEWED_ID = '0000000000005e3d'
const LARGER_ID = '00000000000003e8'
const SINGLE_ID = '0000000000000051'
const SLOWER_ID = '112210f47de98116'
const LOOP_ID = '00000000000010f0'
const THROWN_ID = 'cafe0000000000000000000000000e00'
const MESSAGE = 'the ledger is closed: try after 17:00'

describe('the web page: a trace, in Chromium', function () {
  this.timeout(90_000)
  const tests = pageTests()

  before(async () => {
    const send = (records: Parameters<typeof sendSpans>[1]) => sendSpans(tests.collector.scribe, records)
    await send(shop)
    await send(generateTrace({ traceId: 0x5e3dn, spans: 40, startUs: START_US, skewUs: 30_000 }))
    await send(generateTrace({ traceId: 1000n, spans: 1000, startUs: START_US }))
    await send([server({ traceId: 0x51n, id: 1n, name: 'Ping.ping', service: 'web', from: 0, ms: 1 })])
    const traceId = 0x112210f47de98116n
    await send([
      server({ traceId, id: 1n, name: 'POST /checkout', service: 'web', from: 0, ms: 200 }),
      client({ traceId, id: 2n, parentId: 1n, name: 'Cart.total', service: 'web', from: 5, ms: 150 }),
      server({ traceId, id: 2n, parentId: 1n, name: 'Cart.total', service: 'cart', from: 7, ms: 140 }),
      server({ traceId, id: 4n, parentId: 2n, name: 'Pricing.quote', service: 'pricing', from: 10, ms: 100 }),
    ])
    await send([
      server({ traceId: 0x10f0n, id: 1n, name: 'POST /quotes', service: 'web', from: 0, ms: 500 }),
      ...Array.from({ length: 42 }, (_, i) =>
        server({
          ...{ traceId: 0x10f0n, id: BigInt(10 + i), parentId: 1n, name: 'Pricing.quote', service: 'pricing' },
          ...{ from: 5 + 10 * i, ms: 8 },
          ...(i === 30 && { annotations: new Map([['error.type', 'NoPrice']]) }),
        }),
      ),
      server({ traceId: 0x10f0n, id: 2n, parentId: 1n, name: 'Mail.send', service: 'mail', from: 450, ms: 9 }),
    ])
    const posted = await fetch(`${tests.collector.web}/v1/traces`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ resourceSpans: [thrown()] }),
    })
    assert.equal(posted.status, 200)
  })

  const open = async (path: string) => {
    await tests.page.goto(path)
    await loaded(tests.page)
  }
  const names = (page: Page) => rowsOf(page).locator('.name').allTextContents()
  const param = (name: string) => new URL(tests.page.url()).searchParams.get(name)

  it('steps through errors: first to where each arose, and says what it was', async () => {
    const { page } = tests
    await open(`/trace/${THROWN_ID}`)
    const bar = page.locator('.errors')
    await bar.getByText('LedgerError').waitFor()
    assert.equal(
      await shown(bar.locator('.errors-what')),
      `LedgerError: ${MESSAGE} arose in book, orders → ledger.internal`,
    )
    await page.getByRole('button', { name: '3 errors' }).click()
    const heading = (name: string) => detailOf(page).getByRole('heading', { name, exact: true })
    await heading('book').waitFor()
    await bar.getByText('1 of 3').waitFor()
    await page.getByRole('button', { name: 'Next error' }).click()
    await heading('Orders.place').waitFor()
    await page.keyboard.press('e')
    await heading('POST /orders').waitFor()
    await detailOf(page).getByText('The error arose further down').waitFor()
    await page.keyboard.press('E')
    await heading('Orders.place').waitFor()
    await page.getByRole('button', { name: 'Previous error' }).click()
    await heading('book').waitFor()
  })

  it('shows an exception as type, message and stack, each once', async () => {
    const { page } = tests
    await open(`/trace/${THROWN_ID}?span=00000000000000e3`)
    const detail = detailOf(page)
    await detail.getByRole('heading', { name: 'book' }).waitFor()
    const text = await shown(detail)
    assert.equal(text.split(MESSAGE).length, 2, text)
    assert.equal(text.split('LedgerError').length, 2, text)
    assert.doesNotMatch(text, /\\n|[{}]/)
    const frames = await detail.locator('.stack pre span').allInnerTexts()
    assert.deepEqual([frames[0]!.trim(), frames.length], ['at book (/app/ledger.js:7:9)', 10])
    await counts(detail.locator('.stack .library'), 9)
    await detail.getByRole('button', { name: 'Show all 20 lines' }).click()
    await counts(detail.locator('.stack pre span'), 20)
    await says(detail.locator('.events'), /retry attempt 2 .*exception that made this span fail/)
    assert.equal(await detail.getByText('otel.kind').isVisible(), false)
    await detail.getByText("fields of OpenTelemetry's format").click()
    await detail.getByText('otel.kind').waitFor()
    await detail.locator('.failure').getByRole('link', { name: MESSAGE }).click()
    await arrived(page, /key=error&value=the\+ledger/)
  })

  it('has siblings that are alike in one row until it is opened', async () => {
    const { page } = tests
    await open(`/trace/${LOOP_ID}`)
    await becomes(() => names(page), ['POST /quotes', '42 × Pricing.quote', 'Mail.send'])
    const group = rowsOf(page).nth(1)
    await says(group, /42 × Pricing\.quote pricing 1 error Σ 336 ms/)
    await group.click()
    await counts(rowsOf(page), 45)
    assert.equal(await rowsOf(page).nth(2).getAttribute('aria-level'), '3')
    await group.click()
    await counts(rowsOf(page), 3)
    // What is gone to is shown: by an error, a search or the address.
    const selected = page.getByRole('treeitem', { selected: true })
    await page.getByRole('button', { name: '1 error', exact: true }).click()
    await selected.waitFor()
    await counts(rowsOf(page), 45)
    await page.goto(`/trace/${LOOP_ID}?span=000000000000000c`)
    await selected.waitFor()
    await page.getByLabel('Group calls that are alike').uncheck()
    await arrived(page, /apart=1/)
    await counts(rowsOf(page), 44)
    assert.equal((await names(page)).filter(name => name === 'Pricing.quote').length, 42)

    await open(`/trace/${LOOP_ID}`)
    const tree = page.getByRole('tree')
    await tree.focus()
    // However fast they are pressed.
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('ArrowDown')
    await becomes(() => tree.getAttribute('aria-activedescendant'), await group.getAttribute('id'))
    await page.keyboard.press('ArrowRight')
    await counts(rowsOf(page), 45)
    await page.keyboard.press('ArrowRight')
    await detailOf(page).getByRole('heading', { name: 'Pricing.quote' }).waitFor()
    await page.keyboard.press('ArrowLeft')
    await page.keyboard.press('ArrowLeft')
    await counts(rowsOf(page), 3)
  })

  it('links to logs, if the collector knows where they are', async () => {
    const { page } = tests
    await open(`/trace/${SHOP_ID}?span=0000000000000002`)
    await detailOf(page).getByText('cache miss').waitFor()
    const answers = () => performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('/api/settings'))
    await becomes(async () => (await page.evaluate(answers)).length, 1)
    await drawn(page)
    assert.equal(await page.getByRole('link', { name: 'Logs' }).count(), 0)
    const logLink = 'https://logs.example/q?id={traceId}&span={spanId}&app={service}&from={fromMs}'
    await page.route(/\/api\/settings$/, route => route.fulfill({ json: { logLink } }))
    await page.reload()
    const link = (name: string) => page.getByRole('link', { name, exact: true })
    const from = START_US / 1000 - 60_000
    assert.equal(
      await link('Logs of this span').getAttribute('href'),
      `https://logs.example/q?id=${SHOP_ID}&span=0000000000000002&app=cart&from=${from + 5}`,
    )
    assert.equal(
      await link('Logs').getAttribute('href'),
      `https://logs.example/q?id=${SHOP_ID}&span=&app=web&from=${from}`,
    )
  })

  it('shows a tree with levels, services, durations and errors', async () => {
    await open(`/trace/${SHOP_ID}`)
    const tree = await rowsOf(tests.page).evaluateAll(all =>
      all.map(row => [
        Number(row.ariaLevel),
        Number(row.ariaPosInSet),
        Number(row.ariaSetSize),
        row.ariaExpanded,
        row.querySelector('.name')?.textContent,
        row.querySelector('.service')?.textContent,
        row.querySelector('.duration')?.textContent,
        row.querySelector('.error-mark') !== null,
      ]),
    )
    assert.deepEqual(tree, [
      [1, 1, 1, 'true', 'POST /checkout', 'web', '80.0 ms', false],
      [2, 1, 2, null, 'Cart.total', 'cart', '30.0 ms', false],
      [2, 2, 2, null, 'Mail.send', 'web → unknown', '2.00 ms', true],
    ])
    await says(tests.page.locator('.facts'), /Duration 80\.0 ms Started .* Spans 3 ?1 error 2 services/)
  })

  /** For each row, where in the middle of its bar there is color: the first and last pixel, in per cent of the lane. */
  const bars = async () => {
    await drawn(tests.page)
    return tests.page.locator('canvas.bars').evaluate(element => {
      const style = getComputedStyle(element)
      const height = Number.parseFloat(style.getPropertyValue('--row-height'))
      const middle = Number.parseFloat(style.getPropertyValue('--bar-top')) + 6
      // A copy, for Chromium warns of reading from one that is shown.
      const copy = new OffscreenCanvas((element as HTMLCanvasElement).width, (element as HTMLCanvasElement).height)
      const context = copy.getContext('2d', { willReadFrequently: true })!
      context.drawImage(element as HTMLCanvasElement, 0, 0)
      const all: [number, number][] = []
      for (let y = middle; y < copy.height; y += height) {
        const { data } = context.getImageData(0, Math.round(y), copy.width, 1)
        const below = context.getImageData(0, Math.round(y + 11), copy.width, 1).data
        let from = copy.width
        let to = 0
        for (let x = 0; x < copy.width; x++) {
          // The ticks go through every row; bars don't.
          const tick = below[4 * x + 3]! > 0 && below[4 * x] === data[4 * x]
          if (data[4 * x + 3] === 0 || tick) continue
          from = Math.min(from, x)
          to = x + 1
        }
        all.push([Math.round((100 * from) / copy.width), Math.round((100 * to) / copy.width)])
      }
      return all
    })
  }

  it('places the bars by time, and updates them when it is zoomed', async () => {
    await open(`/trace/${SHOP_ID}`)
    /** To within one per cent. */
    const near = (expected: [number, number][]) =>
      becomes(async () => {
        const asExpected = (at: number, wanted = NaN) => (Math.abs(at - wanted) <= 1 ? wanted : at)
        return (await bars()).map((ends, i) => ends.map((at, end) => asExpected(at, expected[i]?.[end])))
      }, expected as number[][])
    await near([
      [0, 100],
      [6, 44],
      [50, 53],
    ])
    await open(`/trace/${SHOP_ID}?from=0&to=40000`)
    await near([
      [0, 100],
      [13, 88],
      [99, 100],
    ])
  })

  it('zooms by wheel and keys, pans by dragging, selects a range on the minimap, and keeps the view in the address', async () => {
    const { page } = tests
    await open(`/trace/${LARGER_ID}`)
    const lane = (await page.locator('canvas.bars').boundingBox())!
    await page.mouse.move(lane.x + lane.width / 2, lane.y + 100)
    await page.keyboard.down('Control')
    await page.mouse.wheel(0, -300)
    await page.keyboard.up('Control')
    await arrived(page, /from=/)
    // The root lasts 80 ms less what the network takes of it.
    const whole = 73_600
    const view = () => [Number(param('from')), Number(param('to'))] as const
    const [from, to] = view()
    assert.ok(to - from < whole * 0.6 && from > 0 && to < whole, String(view()))
    await page.mouse.down()
    await page.mouse.move(lane.x + lane.width / 2 + 100, lane.y + 100, { steps: 3 })
    await page.mouse.up()
    await page.waitForFunction(from => Number(new URL(location.href).searchParams.get('from')) < from, from)
    const [earlier] = view()
    await page.keyboard.press('d')
    await page.waitForFunction(from => Number(new URL(location.href).searchParams.get('from')) > from, earlier)
    assert.equal(param('span'), null, 'a drag selects nothing')
    await page.keyboard.press('0')
    await arrived(page, url => !url.searchParams.has('from'))

    await drag(page.locator('.minimap'), [0.25, 0.5], [0.5, 0.5])
    await arrived(page, /from=/)
    const chosen = view()
    assert.ok(Math.abs(chosen[0] - whole * 0.25) < 900 && Math.abs(chosen[1] - whole * 0.5) < 900, String(chosen))
    await page.reload()
    await counts(page.locator('.minimap .shade'), 2)
    await page.getByRole('button', { name: 'Whole trace' }).click()
    await counts(page.locator('.minimap .shade'), 0)
  })

  it('shows all data of a span beside the tree, and links to traces with the same values', async () => {
    const { page } = tests
    await open(`/trace/${SHOP_ID}`)
    await rowsOf(page).nth(1).click()
    const detail = detailOf(page)
    await detail.getByText('cache miss').waitFor()
    const text = await shown(detail)
    assert.match(text, /Client \+5\.00 ms 30\.0 ms Server \+7\.00 ms 26\.0 ms Network and waiting 4\.00 ms/)
    assert.match(text, /Self time 30\.0 ms On the critical path 30\.0 ms/)
    assert.match(text, /Annotations user 42 Events \+9\.00 ms cache miss server Counters bytes 9007199254740993/)
    assert.match(text, /Service cart Called by web/)
    await arrived(page, `/trace/${SHOP_ID}?span=0000000000000002`)
    await page.reload()
    await detail.getByText('cache miss').waitFor()
    await detail.getByRole('button', { name: '0000000000000001' }).click()
    await detail.getByRole('heading', { name: 'POST /checkout' }).waitFor()
    await page.goBack()
    await page.goto(`/trace/${SHOP_ID}?span=0000000000000002`)
    await detail.getByRole('link', { name: '42' }).click()
    await arrived(page, /\/search\?key=user&value=42/)
  })

  it('copies ids', async () => {
    const { page } = tests
    await tests.context.grantPermissions(['clipboard-read', 'clipboard-write'])
    await open(`/trace/${SHOP_ID}`)
    await page.getByRole('button', { name: "Copy the trace's id" }).click()
    await page.getByRole('button', { name: 'Copied' }).waitFor()
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), SHOP_ID)
  })

  it('can be walked, folded and unfolded with the keyboard alone', async () => {
    const { page } = tests
    await open(`/trace/${LARGER_ID}`)
    const focused = () => page.evaluate(() => document.activeElement?.getAttribute('role'))
    for (let presses = 0; presses < 40 && (await focused()) !== 'tree'; presses++) await page.keyboard.press('Tab')
    assert.equal(await focused(), 'tree')
    const heading = (name: string) => detailOf(page).getByRole('heading', { name, exact: true })
    const selected = page.getByRole('treeitem', { selected: true })
    const [root, first] = (await names(page)) as [string, string]
    await page.keyboard.press('ArrowDown')
    await heading(root).waitFor()
    await page.keyboard.press('ArrowRight')
    await heading(first).waitFor()
    assert.equal(
      await page.getByRole('tree').getAttribute('aria-activedescendant'),
      await selected.getAttribute('id'),
      'screen readers follow',
    )
    await page.keyboard.press('ArrowLeft')
    await page.waitForFunction(() => document.querySelector('[aria-selected=true]')?.ariaExpanded === 'false')
    await says(selected, /\d+ inside/)
    await page.keyboard.press('ArrowRight')
    await page.waitForFunction(() => document.querySelector('[aria-selected=true]')?.ariaExpanded === 'true')
    await page.keyboard.press('End')
    await page.waitForFunction(() => scrollY > 1000)
    await selected.waitFor()
    await page.keyboard.press('Home')
    await heading(root).waitFor()
    await page.keyboard.press('Escape')
    await detailOf(page).waitFor({ state: 'detached' })
    await page.getByRole('button', { name: 'Fold all' }).click()
    await counts(rowsOf(page), 13)
  })

  it('searches within the trace: next and previous wrap around and unfold spans', async () => {
    const { page } = tests
    await open(`/trace/${LARGER_ID}`)
    await page.keyboard.press('f')
    await page.keyboard.type('user=17')
    const status = page.locator('.within-count')
    await status.getByText('10', { exact: true }).waitFor()
    await page.getByRole('button', { name: 'Fold all' }).click()
    await page.getByRole('button', { name: 'Next match' }).click()
    await status.getByText('1 of 10').waitFor()
    const selected = page.getByRole('treeitem', { selected: true })
    await selected.waitFor()
    assert.match((await selected.getAttribute('class')) ?? '', /matches/)
    await detailOf(page).getByRole('link', { name: '17', exact: true }).waitFor()
    await page.getByRole('button', { name: 'Previous match' }).click()
    await status.getByText('10 of 10').waitFor()
    await page.getByRole('treeitem', { selected: true }).waitFor()
    await page.getByRole('searchbox').press('Enter')
    await status.getByText('1 of 10').waitFor()
    await arrived(page, /find=user%3D17/)
    await page.getByRole('searchbox').fill('nowhere to be found')
    await status.getByText('no match').waitFor()
  })

  it('shows times as they were reported, on request', async () => {
    const { page } = tests
    await open(`/trace/${SKEWED_ID}`)
    const before = await bars()
    await page.getByLabel('Clocks as reported').check()
    await arrived(page, /reported=1/)
    assert.notDeepEqual(await bars(), before)
    await rowsOf(page).nth(1).click()
    await detailOf(page).getByText('Server, as reported').waitFor()
    await open(`/trace/${SHOP_ID}`)
    assert.equal(await page.getByLabel('Clocks as reported').count(), 0)
  })

  it('draws the critical path unless it is switched off', async () => {
    const { page } = tests
    await open(`/trace/${SHOP_ID}`)
    /** Whether there is ink just under the bar of the root, in the middle between two ticks. */
    const path = async () => {
      await drawn(page)
      return page.locator('canvas.bars').evaluate(element => {
        const copy = new OffscreenCanvas(1, 1).getContext('2d')!
        copy.drawImage(element as HTMLCanvasElement, -Math.round((element as HTMLCanvasElement).width * 0.02), -21)
        return copy.getImageData(0, 0, 1, 1).data[3]! > 0
      })
    }
    await becomes(path, true)
    await page.getByLabel('Critical path').uncheck()
    await becomes(path, false)
    await arrived(page, /nopath=1/)
    await page.keyboard.press('Tab')
    await page.keyboard.press('p')
    await becomes(path, true)
  })

  it('has a table of direct sub-calls with durations in three classes, and descends into them', async () => {
    const { page } = tests
    await open(`/trace/${SLOWER_ID}`)
    await page.getByRole('link', { name: 'Tree table' }).click()
    const lines = page.locator('.table tbody tr')
    await lines.first().waitFor()
    await says(lines, /Cart\.total cart 140 ms .* 10\.0 ms 1 1 Detail/)
    await becomes(() => lines.locator('.duration').first().getAttribute('data-duration'), 'medium')
    await page.getByRole('button', { name: 'Cart.total', exact: true }).click()
    await page.getByRole('button', { name: 'Detail of Pricing.quote' }).click()
    await detailOf(page).getByRole('heading', { name: 'Pricing.quote' }).waitFor()
    await arrived(page, /top=0000000000000002/)
    const crumbs = page.getByRole('navigation', { name: 'Path to this call' })
    assert.equal((await crumbs.getByRole('button').allTextContents()).join(), 'POST /checkout,Cart.total')
    await crumbs.getByRole('button', { name: 'POST /checkout' }).click()
    await page.getByRole('button', { name: 'Cart.total', exact: true }).waitFor()
    await page.goto(`/trace/${LARGER_ID}?tab=table`)
    await page.getByRole('button', { name: 'Duration' }).click()
    await arrived(page, /sort=duration/)
    assert.equal(await page.locator('th[aria-sort=descending]').textContent(), 'Duration ↓')
  })

  it('has a call graph, laid out by Graphviz, with names, durations and colors', async () => {
    const { page } = tests
    await open(`/trace/${SLOWER_ID}`)
    await page.getByRole('link', { name: 'Call graph' }).click()
    const boxes = page.locator('.graph-box .node')
    await boxes.first().waitFor()
    assert.deepEqual(await boxes.allTextContents(), [
      'POST /checkout (200 ms)',
      'Cart.total (150 ms)',
      'Pricing.quote (100 ms)',
    ])
    // Nobody knows yet how long these usually take: it is their own parts of the trace.
    await counts(page.locator('.node.heat-high'), 1)
    await counts(page.locator('.node.heat-medium'), 2)
    const lefts = await boxes.evaluateAll(all => all.map(box => box.getBoundingClientRect().left))
    assert.ok(lefts[0]! < lefts[1]! && lefts[1]! < lefts[2]!, String(lefts))
    await counts(page.locator('.edge'), 2)
    await boxes.nth(1).click()
    await detailOf(page).getByRole('heading', { name: 'Cart.total' }).waitFor()
    await page.goto(`/trace/${LARGER_ID}?tab=graph`)
    await boxes.first().waitFor()
    await page.getByText('its duration is that of the longest').waitFor()
  })

  it('has a flame graph that is zoomed by a click and by keys', async () => {
    const { page } = tests
    await open(`/trace/${SLOWER_ID}`)
    await page.getByRole('link', { name: 'Flame graph' }).click()
    const canvas = page.locator('.flame-box canvas')
    await canvas.waitFor()
    await page.getByText('3 calls merged from 3 spans').waitFor()
    await canvas.hover({ position: { x: 20, y: 32 } })
    await page.getByRole('status').getByText('Cart.total').waitFor()
    await canvas.click({ position: { x: 20, y: 32 } })
    await arrived(page, /flame=1/)
    await page.getByRole('button', { name: 'Whole trace' }).click()
    await arrived(page, url => !url.searchParams.has('flame'))
    await page.locator('.flame-box').focus()
    for (const key of ['ArrowDown', 'ArrowDown', 'ArrowDown', 'Enter']) await page.keyboard.press(key)
    await arrived(page, /flame=2/)
    await page.getByRole('button', { name: 'Details of the longest span' }).click()
    await detailOf(page).getByRole('heading', { name: 'Pricing.quote' }).waitFor()
  })

  it('has statistics by service and by name', async () => {
    const { page } = tests
    await open(`/trace/${SLOWER_ID}`)
    await page.getByRole('link', { name: 'Statistics' }).click()
    await page.locator('.table tbody tr').first().waitFor()
    await says(page.locator('.table tbody'), /pricing Pricing\.quote 1 0 100 ms 100 ms 100 ms/)
    await page.getByRole('button', { name: 'By service', exact: true }).click()
    await arrived(page, /by=service/)
    await counts(page.locator('.table tbody tr'), 3)
  })

  it('shows the JSON in each format, and downloads it', async () => {
    const { page } = tests
    await open(`/trace/${SHOP_ID}`)
    await page.getByRole('link', { name: 'JSON' }).click()
    const json = page.locator('.json')
    await json.getByText('"traceId": "112210f47de98115"').waitFor()
    for (const [button, mark] of [
      ['OTLP', '"resourceSpans"'],
      ['Zipkin', '"localEndpoint"'],
      ['Jaeger', '"operationName"'],
      ['Records', '"trace_id"'],
    ] as const) {
      await page.getByRole('button', { name: button }).click()
      await json.getByText(mark).first().waitFor()
    }
    const download = page.waitForEvent('download')
    await page.getByRole('link', { name: 'Download' }).click()
    assert.equal((await download).suggestedFilename(), `trace-${SHOP_ID}.records.json`)
  })

  it('compares the trace with another one', async () => {
    const { page } = tests
    await open(`/trace/${SLOWER_ID}`)
    await page.getByRole('link', { name: 'Compare', exact: true }).click()
    await page.getByLabel('Other trace').fill(`${tests.collector.web}/trace/${SHOP_ID}`)
    await page.getByRole('button', { name: 'Compare', exact: true }).click()
    await arrived(page, /with=112210f47de98115/)
    const lines = page.getByRole('table', { name: 'Calls of both traces' }).locator('tbody tr')
    await lines.first().waitFor()
    const kinds = await lines.evaluateAll(all =>
      all.map(line => [line.className, line.querySelector('.diff-name')?.textContent?.replace(/\s+/g, ' ').trim()]),
    )
    assert.deepEqual(kinds, [
      ['diff-more', '+ POST /checkout'],
      ['diff-more', '+ Cart.total'],
      ['diff-added', '+ Pricing.quote only in this trace'],
      ['diff-removed', '− Mail.send only in the other tracefailed'],
    ])
    await says(lines.nth(1), /1 1 30\.0 ms 150 ms \+120 ms/)
    await page.goto(`/trace/${SHOP_ID}?tab=compare&with=${SINGLE_ID}`)
    await lines.first().waitFor()
    await says(
      page.locator('.compare .summary'),
      /^The other trace took 1\.00 ms with 1 span; this trace took 80\.0 ms with 3 spans\. /,
    )
  })

  it('tells if only a part was read of a trace, of compared traces or of services', async () => {
    const { page } = tests
    await page.route(/\/api\/traces\//, async route => {
      const response = await route.fetch()
      await route.fulfill({ response, json: { ...(await response.json()), truncated: true } })
    })
    await page.route(/\/api\/(services|dependencies)/, route => {
      const nine = { value: 9, low: 9, high: 9 }
      const figures = { calls: nine, errors: nine, errorShare: null, p50: nine, p95: nine, p99: nine, exemplars: [] }
      const services = [{ service: 'web', ...figures, series: [] }]
      const edges = [{ from: 'web', to: 'cart', ...figures }]
      return route.fulfill({ json: { from: 0, to: 3_600_000_000, step: 60_000_000, truncated: true, services, edges } })
    })
    await open(`/trace/${SHOP_ID}`)
    await page.getByText('this page, its totals and downloads cover only a part').waitFor()
    await says(page.locator('.facts'), /\d or more/)
    await page.goto(`/trace/${SLOWER_ID}?tab=compare&with=${SHOP_ID}`)
    await page.getByText('Both traces have more spans than the collector reads of one trace').waitFor()
    await says(page.locator('.compare .summary'), /\d spans or more; .* \d spans or more\./)
    await page.goto('/services')
    await page.getByText('These are the busiest').waitFor()
    await page.goto('/graph')
    await page.getByText('These are the 1 with the most calls').waitFor()
  })

  it('fits a screen 360 pixels wide, on every tab', async () => {
    const { page } = tests
    await page.setViewportSize({ width: 360, height: 740 })
    const ways = ['', '?span=0000000000000002', '?tab=table', '?tab=graph', '?tab=flame', '?tab=statistics']
    const traces = [...ways, '?tab=json', `?tab=compare&with=${SLOWER_ID}`].map(way => `/trace/${SHOP_ID}${way}`)
    for (const path of [...traces, '/', '/search?q=x', '/search?fields=1', '/search?q=duration%3E1us']) {
      await page.goto(path)
      await page.locator('.result, .row, .notice, .table, .graph-box svg, .flame-box, .json').first().waitFor()
      await fits(page, path, [360])
    }
  })
})

/** A call that failed in a database's client and rose through two services, as OpenTelemetry's SDK for Node sends it. */
function thrown() {
  const at = (ms: number) => `${BigInt(START_US) * 1000n + BigInt(ms * 1e6)}`
  const text = (key: string, value: string) => ({ key, value: { stringValue: value } })
  const frames = Array.from({ length: 19 }, (_, i) => `    at next (/app/node_modules/pg/client.js:${i + 1}:1)`)
  const exception = {
    name: 'exception',
    timeUnixNano: at(40),
    attributes: [
      text('exception.type', 'LedgerError'),
      text('exception.message', MESSAGE),
      text(
        'exception.stacktrace',
        [`LedgerError: ${MESSAGE}`, '    at book (/app/ledger.js:7:9)', ...frames].join('\n'),
      ),
    ],
  }
  const span = (id: string, parentSpanId: string, name: string, kind: number, from: number, to: number) => ({
    ...{ traceId: THROWN_ID, spanId: `00000000000000${id}`, parentSpanId, name, kind },
    ...{ startTimeUnixNano: at(from), endTimeUnixNano: at(to) },
    status: { code: 2, message: MESSAGE },
  })
  const retry = { name: 'retry', timeUnixNano: at(30), attributes: [{ key: 'attempt', value: { intValue: 2 } }] }
  return {
    resource: { attributes: [text('service.name', 'orders')] },
    scopeSpans: [
      {
        spans: [
          span('e1', '', 'POST /orders', 2, 0, 60),
          span('e2', '00000000000000e1', 'Orders.place', 1, 5, 55),
          {
            ...span('e3', '00000000000000e2', 'book', 3, 10, 50),
            attributes: [text('server.address', 'ledger.internal')],
            events: [retry, exception],
          },
        ],
      },
    ],
  }
}
