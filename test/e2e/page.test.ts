import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { type Browser, type BrowserContext, chromium, type Locator, type Page } from 'playwright-core'
import { Writer } from '../../src/codec/binary'
import { CATEGORY, ResultCode, readLogReply, writeLogFrame } from '../../src/codec/scribe'
import { EventType, encodeRecord, type SpanRecord } from '../../src/codec/span'
import { type Collector, startCollector } from '../helpers/programs'
import { chromiumPath } from '../servers'

const START_US = 1_750_000_000_000_000
const EVIL = `<img src=x onerror="alert(1)"><script>alert(2)</script>"'javascript:alert(3)`

/** One frame to the collector; resolves when it has answered OK. */
async function send(collector: Collector, records: SpanRecord[]): Promise<void> {
  const [host, port] = collector.scribe.split(':')
  const w = new Writer()
  writeLogFrame(w, 1, CATEGORY, w => w.raw(Buffer.concat(records.map(encodeRecord))))
  const socket = connect(Number(port), host)
  try {
    socket.write(w.take())
    const reply: Buffer[] = []
    for await (const chunk of socket) {
      reply.push(chunk)
      const got = Buffer.concat(reply)
      if (got.length >= 4 && got.length >= 4 + got.readInt32BE(0)) break
    }
    assert.equal(readLogReply(Buffer.concat(reply).subarray(4)).code, ResultCode.OK)
  } finally {
    socket.destroy()
  }
}

type Half = SpanRecord & { from: number; ms: number }

function half(send: EventType, receive: EventType, { from, ms, ...record }: Half): SpanRecord {
  const at = (ms: number) => BigInt(START_US + Math.round(ms * 1000))
  return {
    ...record,
    events: [
      { timestamp: at(from), eventType: send },
      ...(record.events ?? []),
      { timestamp: at(from + ms), eventType: receive },
    ],
  }
}
const client = (record: Half) => half(EventType.CLIENT_SEND, EventType.CLIENT_RECV, record)
const server = (record: Half) => half(EventType.SERVER_RECV, EventType.SERVER_SEND, record)

const TRACE = 0x112210f47de98115n
const shop: SpanRecord[] = [
  server({ traceId: TRACE, id: 1n, name: 'POST /checkout', service: 'web', from: 0, ms: 80 }),
  client({ traceId: TRACE, id: 2n, parentId: 1n, name: 'Cart.total', service: 'web', from: 5, ms: 30 }),
  server({
    traceId: TRACE,
    id: 2n,
    parentId: 1n,
    name: 'Cart.total',
    service: 'cart',
    from: 7,
    ms: 26,
    annotations: new Map([['user', '42']]),
    counters: new Map([['bytes', 9007199254740993n]]),
    events: [{ timestamp: BigInt(START_US + 9000), eventType: EventType.CUSTOM, value: 'cache miss' }],
  }),
  client({
    traceId: TRACE,
    id: 3n,
    parentId: 1n,
    name: 'Mail.send',
    service: 'web',
    from: 40,
    ms: 2,
    annotations: new Map([['error.type', 'ECONNREFUSED']]),
  }),
]

/** The text that people see, in one line. */
async function shown(locator: Locator): Promise<string> {
  return (await locator.allInnerTexts()).join(' ').replace(/\s+/g, ' ')
}

describe('the web page, in Chromium', function () {
  this.timeout(60_000)
  let collector: Collector
  let browser: Browser
  let context: BrowserContext
  let page: Page
  /** What must not happen on any page: errors in the console (violations of the CSP are among them), and dialogs. */
  let trouble: string[]
  /** Chromium's own line about an answer that the page is to explain. */
  let expected: RegExp | undefined

  before(async function () {
    // Chromium may have to be installed first.
    this.timeout(300_000)
    const executablePath = await chromiumPath()
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] })
    collector = await startCollector()
  })
  after(async () => {
    await browser?.close()
    await collector?.stop()
  })

  beforeEach(async () => {
    trouble = []
    expected = undefined
    context = await browser.newContext({ baseURL: collector.web })
    page = await context.newPage()
    page.on('console', message => {
      if (message.type() !== 'error' && message.type() !== 'warning') return
      if (!expected?.test(message.text())) trouble.push(message.text())
    })
    page.on('pageerror', error => trouble.push(String(error)))
    page.on('dialog', dialog => {
      trouble.push(`dialog: ${dialog.message()}`)
      void dialog.dismiss()
    })
  })
  afterEach(async () => {
    await context.close()
    assert.deepEqual(trouble, [])
  })

  const rows = () => page.getByRole('treeitem')
  const detail = () => page.getByRole('complementary', { name: 'Selected span' })
  /** The list of traces as it is asked for again and again: what was just stored may take a second to be found. */
  async function findResult(path: string, text: string) {
    const result = page.locator('.result', { hasText: text })
    for (const deadline = Date.now() + 10_000; ; ) {
      await page.goto(path)
      await page.locator('.result, .notice').first().waitFor()
      if ((await result.count()) > 0) return result.first()
      assert.ok(Date.now() < deadline, `${text} isn't among the results of ${path}`)
    }
  }

  it('tells people with an empty collector how to send a first trace', async () => {
    const response = await page.goto('/')
    assert.match(response!.headers()['content-security-policy'] ?? '', /default-src 'self'/)
    await page.getByText('No traces yet').waitFor()
    await page.getByText('npm run demo').waitFor()
    await page.getByText('node -r milo/register app.js').waitFor()
  })

  it('finds traces by name, key and value, and leads from a result to the tree and to a span', async () => {
    await send(collector, shop)
    await findResult('/', 'POST /checkout')
    await page.getByLabel('Name').fill('Cart.total')
    await page.getByLabel('Key').fill('user')
    await page.getByLabel('Value').fill('42')
    await page.getByRole('button', { name: 'Search' }).click()
    const result = page.locator('.result')
    await page.waitForURL('/?name=Cart.total&key=user&value=42')
    await result.getByText('80.0 ms').waitFor()
    assert.match(await shown(result), /POST \/checkout Error cart, web 80\.0 ms 3 spans/)

    await result.click()
    await page.waitForURL('/trace/112210f47de98115')
    await rows().first().waitFor()
    const tree = await rows().evaluateAll(all =>
      all.map(row => [
        Number(row.ariaLevel),
        row.querySelector('.name')?.textContent,
        row.querySelector('.service')?.textContent,
        row.querySelector('.duration')?.textContent,
        (row as HTMLElement).dataset.duration,
        row.querySelectorAll('.bar.client').length,
        row.querySelectorAll('.bar.server').length,
        row.querySelector('.error-mark') !== null,
      ]),
    )
    assert.deepEqual(tree, [
      [1, 'POST /checkout', 'web', '80.0 ms', 'high', 0, 1, false],
      [2, 'Cart.total', 'cart', '30.0 ms', 'medium', 1, 1, false],
      [2, 'Mail.send', 'web → unknown', '2.00 ms', 'low', 1, 0, true],
    ])

    await rows().nth(1).click()
    const text = await shown(detail())
    assert.match(text, /Client \+5\.00 ms 30\.0 ms Server \+7\.00 ms 26\.0 ms Network and waiting 4\.00 ms/)
    assert.match(text, /Annotations user 42 Events \+9\.00 ms cache miss server Counters bytes 9007199254740993/)
    assert.match(text, /Service cart Called by web/)
    await page.waitForURL('/trace/112210f47de98115?span=0000000000000002')

    await page.reload()
    await detail().getByText('cache miss').waitFor()
    await page.goBack()
    await page.waitForURL('/?name=Cart.total&key=user&value=42')
    await result.getByText('80.0 ms').waitFor()
    assert.equal(await page.getByLabel('Key').inputValue(), 'user')
  })

  it('places the bars by time', async () => {
    await page.goto('/trace/112210f47de98115')
    await rows().first().waitFor()
    const bars = await rows()
      .locator('.bar')
      .evaluateAll(all =>
        all.map(bar => {
          const lane = bar.parentElement!.getBoundingClientRect()
          const { left, width } = bar.getBoundingClientRect()
          return [(left - lane.left) / lane.width, width / lane.width].map(n => Math.round(n * 80))
        }),
      )
    assert.deepEqual(bars, [
      [0, 80],
      [5, 30],
      [7, 26],
      [40, 2],
    ])
  })

  it('looks a trace up by its id in hex, in decimal and within a traceparent header', async () => {
    for (const id of [
      '112210F47DE98115',
      '1234567890123456789',
      `00-${'0'.repeat(16)}112210f47de98115-0000000000000002-01`,
    ]) {
      await page.goto('/')
      await page.getByLabel('Trace id').fill(id)
      await page.getByRole('button', { name: 'Look up' }).click()
      await page.getByRole('heading', { name: 'POST /checkout' }).waitFor()
      assert.equal(await rows().count(), 3)
    }
    await page.getByLabel('Trace id').fill('no such thing')
    await page.keyboard.press('Enter')
    await page.getByText('There is no trace id in that').waitFor()
  })

  it('says so when there is no such trace, and when nothing matches', async () => {
    expected = /Failed to load resource.*404/
    await page.goto('/trace/00000000000000ff')
    await page.getByText('No such trace').waitFor()
    await page.goto('/?name=cart.total')
    await page.getByText('No span is called “cart.total”.').waitFor()
  })

  it('can be read and walked with the keyboard alone', async () => {
    await page.goto('/trace/112210f47de98115')
    await rows().first().waitFor()
    const focused = () => page.evaluate(() => document.activeElement?.getAttribute('role'))
    for (let presses = 0; presses < 20 && (await focused()) !== 'tree'; presses++) await page.keyboard.press('Tab')
    assert.equal(await focused(), 'tree')
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('ArrowRight')
    await detail().getByRole('heading', { name: 'Cart.total' }).waitFor()
    await page.keyboard.press('End')
    await detail().getByText('Failed: ECONNREFUSED').waitFor()
    await page.keyboard.press('ArrowLeft')
    await detail().getByRole('heading', { name: 'POST /checkout' }).waitFor()
    await page.keyboard.press('Escape')
    await detail().waitFor({ state: 'detached' })
  })

  it('shows markup in names, keys, values and hosts as the text that it is', async () => {
    const pairs = new Map([[EVIL, EVIL]])
    const events = [{ timestamp: BigInt(START_US), eventType: EventType.CUSTOM, value: EVIL }]
    const fields = { traceId: 66n, name: EVIL, service: EVIL, annotations: pairs, from: 1e6, ms: 1, events }
    await send(collector, [
      server({ ...fields, id: 1n, serverHost: EVIL, counters: new Map([[EVIL, 1n]]) }),
      client({
        ...fields,
        id: 1n,
        clientHost: EVIL,
        annotations: new Map([
          [EVIL, `${EVIL}!`],
          ['error', EVIL],
        ]),
      }),
    ])
    const result = await findResult(`/?${new URLSearchParams({ name: EVIL, key: EVIL, value: EVIL })}`, EVIL)
    assert.equal(await page.getByLabel('Name').inputValue(), EVIL)
    await result.click()
    await rows().first().click()
    await detail().getByText(`Failed: ${EVIL}`).waitFor()
    const said = await shown(page.locator('main'))
    // Name ×3 (page, row, panel), services ×2, error, key and value, the same of the conflict, event ×2, counter, hosts …
    assert.ok(said.split(EVIL).length - 1 >= 14, said)
    assert.equal(await page.locator('main img, main script, main [onerror], a[href^="javascript"]').count(), 0)
    await detail().getByRole('link', { name: EVIL }).first().click()
    await findResult(page.url(), EVIL)
  })

  it('fits a screen 360 pixels wide', async () => {
    await page.setViewportSize({ width: 360, height: 740 })
    for (const path of ['/', '/trace/112210f47de98115', '/trace/112210f47de98115?span=0000000000000002', '/?name=x']) {
      await page.goto(path)
      await page.locator('.result, .row, .notice').first().waitFor()
      const tooWide = await page.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
      )
      assert.equal(tooWide, 0, path)
    }
  })

  it('leads through older traces page by page, and back to the newest', async () => {
    const traces = Array.from({ length: 30 }, (_, i) =>
      server({
        traceId: BigInt(1000 + i),
        id: 1n,
        name: `Page.n${i}`,
        from: 2e6 + i,
        ms: 1,
        annotations: new Map([['run', 'pages']]),
      }),
    )
    await send(collector, traces)
    const names = () => page.locator('.result-name').allInnerTexts()
    await findResult('/?key=run&value=pages', 'Page.n29')
    assert.deepEqual(
      await names(),
      Array.from({ length: 25 }, (_, i) => `Page.n${29 - i}`),
    )
    await page.getByRole('link', { name: 'Older traces' }).click()
    await page.getByText('Page.n4').waitFor()
    assert.deepEqual(await names(), ['Page.n4', 'Page.n3', 'Page.n2', 'Page.n1', 'Page.n0'])
    assert.equal(await page.getByRole('link', { name: 'Older traces' }).count(), 0)
    await page.getByRole('link', { name: 'Back to the newest' }).click()
    await page.getByText('Page.n29').waitFor()
  })

  it('keeps a trace of 10,000 spans usable: only rows near the view are in the page, and End reaches the last', async () => {
    const spans = Array.from({ length: 10_000 }, (_, i) =>
      server({
        traceId: 77n,
        id: BigInt(i + 1),
        parentId: BigInt(Math.floor(i / 2)),
        name: `n${i + 1}`,
        from: 3e6 + i,
        ms: 1,
      }),
    )
    for (let i = 0; i < spans.length; i += 1000) await send(collector, spans.slice(i, i + 1000))
    await page.goto('/trace/000000000000004d')
    await page.getByText('10,000').waitFor()
    assert.ok((await rows().count()) < 200)
    await page.getByRole('tree').focus()
    await page.keyboard.press('End')
    const last = page.getByRole('treeitem', { selected: true })
    await last.waitFor()
    const box = (await last.boundingBox())!
    const { height } = page.viewportSize()!
    assert.ok(box.y >= 0 && box.y + box.height <= height, `the last row is in view: ${JSON.stringify(box)}`)
    assert.equal(await shown(last.locator('.name')), await shown(detail().getByRole('heading', { level: 2 })))
  })
})
