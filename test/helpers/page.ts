import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type Browser, type BrowserContext, chromium, type Locator, type Page } from 'playwright-core'
import { type Config, loadConfig } from '../../collector/src/config'
import { EventType, type SpanRecord } from '../../src/codec/span'
import { collector, undo } from '../collector/support'
import { headlessChromiumPath } from '../servers'
import { ROOT } from './child'

/** Of all spans that tests of the page make. */
export const START_US = 1_750_000_000_000_000
export const EVIL = `<img src=x onerror="alert(1)"><script>alert(2)</script>"'javascript:alert(3)`

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

/** A client half that begins `from` ms after START_US. */
export const client = (record: Half) => half(EventType.CLIENT_SEND, EventType.CLIENT_RECV, record)
export const server = (record: Half) => half(EventType.SERVER_RECV, EventType.SERVER_SEND, record)

/** The text that people see, in one line. Waits until there is some element: a page that is still being loaded has none. */
export async function shown(locator: Locator): Promise<string> {
  await locator.first().waitFor({ state: 'attached' })
  return (await locator.allInnerTexts()).join(' ').replace(/\s+/g, ' ')
}

/**
 * Reads the page until it is as expected: it draws what an action causes later than the action ends. What never comes fails as the plain
 * assertion would, with what was read last.
 * @param expected compared deeply, or a pattern that the text has to match
 */
export async function becomes<T>(read: () => Promise<T>, expected: T | RegExp, message?: string): Promise<void> {
  for (const giveUp = Date.now() + 30_000; ; await new Promise(resolve => setTimeout(resolve, 5))) {
    try {
      const value = await read()
      if (expected instanceof RegExp) assert.match(String(value), expected, message)
      else assert.deepEqual(value, expected, message)
      return
    } catch (error) {
      if (Date.now() > giveUp) throw error
    }
  }
}

/** Waits until the text that people see of all elements, in one line, matches. */
export function says(locator: Locator, pattern: RegExp): Promise<void> {
  return becomes(() => shown(locator), pattern)
}

/** Waits until so many elements are in the page. */
export function counts(locator: Locator, expected: number): Promise<void> {
  return becomes(() => locator.count(), expected)
}

/** Waits for an address, and until what belongs to it is drawn: the address changes first, then come effects, and what they draw. */
export async function arrived(page: Page, url: Parameters<Page['waitForURL']>[0]): Promise<void> {
  await page.waitForURL(url)
  await drawn(page)
}

/** Waits until what the page has been told is drawn: the first frame may end before effects have asked for theirs. */
export async function drawn(page: Page): Promise<void> {
  const frame = () => new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)))
  for (let i = 0; i < 2; i++) await page.evaluate(frame)
}

type Place = readonly [x: number, y: number]

/** Drags over what is drawn in an element, from one place to another: parts of its width and height, from the upper left corner. */
export async function drag(over: Locator, from: Place, to: Place): Promise<void> {
  const page = over.page()
  await over.waitFor()
  await drawn(page)
  const { x, y, width, height } = (await over.boundingBox())!
  await page.mouse.move(x + from[0] * width, y + from[1] * height)
  await page.mouse.down()
  await page.mouse.move(x + to[0] * width, y + to[1] * height, { steps: 4 })
  await page.mouse.up()
}

/** Checks that the page, as it is drawn at each of these widths, isn't scrolled sideways. */
export async function fits(page: Page, place: string, widths = [1280, 360]): Promise<void> {
  for (const width of widths) {
    await page.setViewportSize({ width, height: 800 })
    await drawn(page)
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
    assert.ok(wide <= 0, `${place} at ${width} px is ${wide} px too wide`)
  }
}

export interface WebCollector {
  /** The web address, without a slash at the end. */
  web: string
  /** `host:port` for MILO_SCRIBE. */
  scribe: string
}

/** A collector in this process with the page as it is built, until `undo`. */
export async function webCollector(http: Partial<Config['http']> = {}): Promise<WebCollector> {
  const defaults = loadConfig(undefined, {}).config.http
  const { url, scribePorts } = await collector(
    { http: { ...defaults, port: 0, ...http } },
    join(ROOT, 'collector/dist/ui'),
  )
  return { web: url, scribe: `127.0.0.1:${scribePorts[0]}` }
}

/** A collector of its own and a page of a fresh browser profile for each test. */
export interface PageTests {
  collector: WebCollector
  context: BrowserContext
  page: Page
  /** Chromium's own line about an answer that the page is to explain. */
  expected: RegExp | undefined
  /** Hosts that were asked other than the collector. */
  elsewhere: string[]
}

/**
 * Sets up the hooks of a describe: nothing on any page may write an error or a warning to the console (violations of the CSP are
 * among them), throw, open a dialog, or ask another host.
 */
export function pageTests(): PageTests {
  const tests = { expected: undefined, elsewhere: [] as string[] } as unknown as PageTests
  let browser: Browser
  let trouble: string[]

  before(async function () {
    // Chromium may have to be installed first.
    this.timeout(300_000)
    const executablePath = await headlessChromiumPath()
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] })
    tests.collector = await webCollector()
  })
  after(async () => {
    await browser?.close()
    await undo()
  })
  beforeEach(async () => {
    trouble = []
    tests.expected = undefined
    tests.elsewhere = []
    tests.context = await browser.newContext({ baseURL: tests.collector.web })
    const page = await tests.context.newPage()
    tests.page = page
    page.on('console', message => {
      if (message.type() !== 'error' && message.type() !== 'warning') return
      if (!tests.expected?.test(message.text())) trouble.push(message.text())
    })
    page.on('pageerror', error => trouble.push(String(error)))
    page.on('dialog', dialog => {
      trouble.push(`dialog: ${dialog.message()}`)
      void dialog.dismiss()
    })
    tests.context.on('request', request => {
      const { origin, protocol } = new URL(request.url())
      if (protocol !== 'blob:' && origin !== tests.collector.web) tests.elsewhere.push(request.url())
    })
  })
  afterEach(async () => {
    await tests.context.close()
    assert.deepEqual(trouble, [])
    assert.deepEqual(tests.elsewhere, [])
  })
  return tests
}

/** The list of traces as it is asked for again and again: what was just stored may take a second to be found. */
export async function findResult(page: Page, path: string, text: string): Promise<Locator> {
  const result = page.locator('.result', { hasText: text })
  for (const deadline = Date.now() + 15_000; ; ) {
    await page.goto(path)
    await page.locator('.result, .notice').first().waitFor()
    if ((await result.count()) > 0) return result.first()
    assert.ok(Date.now() < deadline, `${text} isn't among the results of ${path}`)
  }
}

/** A small trace with everything in it: both halves, an error, an event, a counter. */
export const SHOP_ID = '112210f47de98115'
const traceId = 0x112210f47de98115n
export const shop: SpanRecord[] = [
  server({ traceId, id: 1n, name: 'POST /checkout', service: 'web', from: 0, ms: 80 }),
  client({ traceId, id: 2n, parentId: 1n, name: 'Cart.total', service: 'web', from: 5, ms: 30 }),
  server({
    traceId,
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
    traceId,
    id: 3n,
    parentId: 1n,
    name: 'Mail.send',
    service: 'web',
    from: 40,
    ms: 2,
    annotations: new Map([['error.type', 'ECONNREFUSED']]),
  }),
]

/** The rows of the waterfall that are in the page. */
export function rowsOf(page: Page): Locator {
  return page.getByRole('treeitem')
}

/** Waits until all spans of a trace are in its waterfall. */
export async function loaded(page: Page): Promise<void> {
  await rowsOf(page).first().waitFor()
  await page.locator('.loading-bar:not(:has(progress))').waitFor()
}

export function detailOf(page: Page): Locator {
  return page.getByRole('complementary', { name: 'Selected span' })
}
