import assert from 'node:assert/strict'
import type { Page } from 'playwright-core'
import { EventType, type SpanRecord } from '../../src/codec/span'
import { nothingSerious } from '../helpers/axe'
import { arrived, counts, drag, drawn, fits, pageTests, says, shown } from '../helpers/page'
import { sendSpans } from '../helpers/send'
import { until } from '../helpers/until'

const MINUTE_US = 60e6
/** Everything happened in the two hours before this. */
const NOW_US = Date.now() * 1000 - MINUTE_US
/** From here on quotes are slow. */
const WORSE_US = NOW_US - 57 * MINUTE_US
const TRACES = 480

const SERVER: [EventType, EventType] = [EventType.SERVER_RECV, EventType.SERVER_SEND]
const CLIENT: [EventType, EventType] = [EventType.CLIENT_SEND, EventType.CLIENT_RECV]

/**
 * A shop for two hours. Checkouts ask cart, which asks pricing, and then payment, which declines every tenth card, and so the checkout fails; looks
 * at products ask catalog, which asks pricing too. In the last hour pricing takes twenty times as long.
 */
function shopTrace(traceId: bigint, i: number, start: number, isWorse: boolean): SpanRecord[] {
  const records: SpanRecord[] = []
  const quote = (isWorse ? 80_000 : 4_000) + ((i * 37) % 100) * 100
  const span = (fields: Partial<SpanRecord>, types: [EventType, EventType], from: number, to: number) =>
    records.push({
      ...{ traceId, probability: 1 },
      ...fields,
      events: types.map((eventType, end) => ({ timestamp: BigInt(start + (end === 0 ? from : to)), eventType })),
    })
  const call = (
    id: bigint,
    parentId: bigint,
    service: string,
    callee: string,
    name: string,
    from: number,
    to: number,
    said: [string, string][] = [],
  ) => {
    span({ id, parentId, name, service }, CLIENT, from, to)
    span({ id, parentId, name, service: callee, annotations: new Map(said) }, SERVER, from + 300, to - 300)
  }
  const user: [string, string] = ['user', i % 40 === 7 ? 'ada' : `u${i % 13}`]
  if (i % 3 === 0) {
    span({ id: 1n, name: 'GET /product', service: 'web', annotations: new Map([user]) }, SERVER, 0, quote + 6_000)
    call(2n, 1n, 'web', 'catalog', 'Catalog.show', 1_000, quote + 5_000)
    call(3n, 2n, 'catalog', 'pricing', 'Pricing.quote', 3_000, quote + 3_000)
    return records
  }
  const declined = i % 10 === 1
  const failure: [string, string][] = [
    ['error.type', 'CardDeclined'],
    ['error.message', `card ${4000 + i} was declined: insufficient funds`],
  ]
  const paid = quote + 8_000
  const annotations = new Map([user, ...(declined ? [['error.type', 'CheckoutFailed'] as [string, string]] : [])])
  span({ id: 1n, name: 'POST /checkout', service: 'web', annotations }, SERVER, 0, paid + 12_000)
  call(2n, 1n, 'web', 'cart', 'Cart.total', 1_000, quote + 6_000)
  call(3n, 2n, 'cart', 'pricing', 'Pricing.quote', 3_000, quote + 4_000)
  call(4n, 1n, 'web', 'payment', 'Payment.charge', paid, paid + 9_000, declined ? failure : [])
  return records
}

function shopTraces(): SpanRecord[] {
  return Array.from({ length: TRACES }, (_, i) => {
    const start = NOW_US - Math.floor(((TRACES - i) * 118 * MINUTE_US) / TRACES)
    // An odd factor, so that the low bits, by which traces are grouped, are as mixed as those of random ids.
    return shopTrace(BigInt.asUintN(63, BigInt(i + 1) * 0x9e3779b97f4a7c15n), i, start, start >= WORSE_US)
  }).flat()
}

/** Counts what the user does: clicks, and two for a choice in a list. */
function countClicks(): void {
  const counted = window as unknown as { clicks: number }
  counted.clicks = 0
  addEventListener('click', event => event.isTrusted && counted.clicks++, true)
  addEventListener('change', ({ target }) => target instanceof HTMLSelectElement && (counted.clicks += 2), true)
}

describe('the web page: from the first page to the cause, in Chromium', function () {
  this.timeout(90_000)
  const tests = pageTests()
  const ask = async (path: string): Promise<any> => (await fetch(`${tests.collector.web}${path}`)).json()
  const pages = (page: Page) => page.getByRole('navigation', { name: 'Pages' })

  before(async () => {
    await sendSpans(tests.collector.scribe, shopTraces())
    await until(
      'all is found',
      async () => (await ask('/api/search?limit=1000&from=-3h')).traces.length === TRACES,
      60_000,
    )
    await until(
      'all is counted',
      async () => {
        const { edges } = await ask('/api/dependencies?from=-2h')
        return edges.filter(({ to }: { to: string }) => to === 'pricing').length === 2
      },
      60_000,
    )
  })
  const firstPage = async () => {
    await tests.page.addInitScript(countClicks)
    await tests.page.goto('/')
    await tests.page.locator('.result').first().waitFor()
    return tests.page
  }
  const atMost = async (most: number) => {
    const clicks = await tests.page.evaluate('clicks')
    assert.ok(Number(clicks) <= most, `${clicks} clicks`)
  }

  it('1 and 6: which service is slow, and what slow traces do that fast ones don’t, is a click away; two traces side by side are two', async () => {
    const page = await firstPage()
    await page.getByRole('link', { name: 'Fast and slow' }).click()
    await page.getByRole('heading', { name: 'Where the slow ones take their time' }).waitFor()
    const parts = page.locator('section, div', { has: page.getByRole('heading', { name: /Where the slow/ }) })
    await says(parts.last(), /\+[678]\d\.\d ms Pricing\.quote pricing/)
    await page.getByRole('link', { name: 'Compare these two' }).click()
    await arrived(page, /\/compare\?a=\w+&b=\w+$/)
    await page.getByRole('heading', { name: /^Where the time/ }).waitFor()
    await says(page.locator('main'), /\+[678]\d\.\d ms Pricing\.quote pricing/)
    await atMost(3)
  })

  it('2: which error it is, and where it arose, is in the list of traces, and in two clicks with all others of its kind', async () => {
    const page = await firstPage()
    const row = page.locator('.results > li', { hasText: 'declined' }).first()
    await says(row, /CardDeclined card \d+ was declined: insufficient funds in payment · Payment\.charge/)
    await pages(page).getByRole('link', { name: 'Errors' }).click()
    const kinds = page.getByRole('table', { name: 'Kinds of errors' }).locator('tbody tr')
    await kinds.first().waitFor()
    // In the last hour; the checkouts that failed because of it aren't another kind.
    await counts(kinds, 1)
    await says(
      kinds,
      /CardDeclined card … was declined: insufficient funds payment · Payment\.charge .*made web fail 1\d /,
    )
    await kinds.getByRole('link', { name: /card/ }).click()
    await arrived(page, /\/trace\/\w+\?span=0*4$/)
    await atMost(2)
  })

  it('3: what got worse in the last hour, and by which operation, is a click away', async () => {
    const page = await firstPage()
    await pages(page).getByRole('link', { name: 'Changes' }).click()
    const origin = page.locator('tr', { hasText: 'likely origin' })
    await origin.first().waitFor()
    await says(origin, /pricing Pricing\.quote|Pricing\.quote.*pricing/)
    await atMost(2)
  })

  it('4: who calls a service is two clicks away', async () => {
    const page = await firstPage()
    await pages(page).getByRole('link', { name: 'Services' }).click()
    await page.getByRole('link', { name: 'pricing', exact: true }).click()
    const callers = page.getByRole('table', { name: 'Who calls it' }).locator('tbody tr')
    await callers.nth(1).waitFor()
    const said = await shown(callers)
    assert.match(said, /cart/)
    assert.match(said, /catalog/)
    await atMost(2)
  })

  it('5: the traces of user=ada are a click away', async () => {
    const page = await firstPage()
    await page.keyboard.press('/')
    await page.keyboard.type('user=ada')
    await page.getByRole('button', { name: 'Search', exact: true }).click()
    await arrived(page, /q=user%3Dada/)
    await page.getByRole('heading', { name: 'Matching traces' }).waitFor()
    await page.getByText('12 traces match').waitFor()
    await counts(page.locator('.result'), 12)
    await atMost(1)
  })

  it('narrows the time by a drag over the histogram; box, fields and address have the same time in the viewer’s zone', async () => {
    const { collector } = tests
    const context = await tests.context.browser()!.newContext({
      baseURL: collector.web,
      timezoneId: 'Asia/Kathmandu',
      locale: 'en-GB',
    })
    try {
      const page = await context.newPage()
      await page.goto('/search?q=name%3APricing.quote+last+2h')
      await page.getByText(/traces match/).waitFor()
      await drag(page.locator('.histogram .u-over'), [0.25, 0.5], [0.5, 0.5])
      await arrived(page, /from%3A/)
      const q = new URL(page.url()).searchParams.get('q')!
      const [, from, to] = /^name:Pricing\.quote from:(\S+Z) to:(\S+Z)$/.exec(q)!
      // A quarter of two hours, and the rest of the bars at its ends.
      const minutes = (Date.parse(to!) - Date.parse(from!)) / 60_000
      assert.ok(minutes >= 30 && minutes < 40, `${minutes} minutes`)
      const local = (iso: string) => new Date(Date.parse(iso) + (5 * 60 + 45) * 60_000).toISOString().slice(0, 16)
      const box = await page.getByRole('combobox', { name: 'Search' }).inputValue()
      assert.ok(box.includes(`from:${local(from!)}`) && box.includes(`to:${local(to!)}`), box)
      const picked = page.getByRole('combobox', { name: 'Time range' })
      assert.ok((await shown(picked.locator('option:checked'))).includes(local(from!).slice(11)))
      await page.getByRole('link', { name: 'Fields' }).click()
      assert.ok((await page.getByLabel('From').inputValue()).startsWith(local(from!)))
      await page.getByRole('button', { name: 'Search', exact: true }).click()
      await drawn(page)
      assert.equal(Date.parse(new URL(page.url()).searchParams.get('from')!), Date.parse(from!))
      await picked.selectOption('From … to …')
      await page.getByText('In your zone: Asia/Kat').waitFor()
    } finally {
      await context.close()
    }
  })

  it('orders by the longest and by the most errors, and says so in the address', async () => {
    const { page } = tests
    await page.goto('/search?q=last+2h')
    await page.locator('.result').first().waitFor()
    await page.getByRole('combobox', { name: 'Order' }).selectOption('Longest first')
    await arrived(page, /order=longest/)
    const durations = async () =>
      (await page.locator('.result .duration').allInnerTexts()).map(text => Number.parseFloat(text))
    await until('the longest are first', async () => {
      const list = await durations()
      return list.length > 10 && list[0]! > 100 && list.every((ms, i) => i === 0 || ms <= list[i - 1]!)
    })
    await page.getByRole('combobox', { name: 'Order' }).selectOption('Most errors first')
    await arrived(page, /order=errors/)
    await until('those with errors are first', async () =>
      /2 errors/.test(await shown(page.locator('.result').first())),
    )
  })

  it('compares what is ticked: one with a typical trace, two with each other', async () => {
    const { page } = tests
    await page.goto('/search?q=last+2h')
    const ticks = page.getByRole('checkbox', { name: /^Compare/ })
    await ticks.nth(4).check()
    await page.getByRole('link', { name: 'Compare with a typical one' }).waitFor()
    const typical = await page.getByRole('link', { name: 'Compare with a typical one' }).getAttribute('href')
    await ticks.nth(1).check()
    const link = page.getByRole('link', { name: 'Compare these two' })
    const ids = await page.locator('.result').evaluateAll(rows => rows.map(row => row.getAttribute('href')!.slice(6)))
    assert.equal(typical, `compare?a=${ids[4]}&with=typical`)
    assert.equal(await link.getAttribute('href'), `compare?a=${ids[4]}&b=${ids[1]}`)
    assert.equal(await ticks.nth(2).isDisabled(), true)
    await page.getByRole('button', { name: 'Clear' }).click()
    await counts(link, 0)
    await ticks.nth(0).check()
    await page.getByRole('link', { name: 'Compare with a typical one' }).click()
    await page.getByRole('link', { name: 'The typical trace' }).waitFor()
  })

  it('shows new traces on top while it is live, and lets them wait while somebody reads', async () => {
    const { page, collector } = tests
    await page.goto('/search?q=user%3Dlive')
    await page.getByText('Nothing matches').waitFor()
    const send = (id: bigint) => {
      const [root, ...others] = shopTrace(id, 4, Date.now() * 1000 - 1e6, false)
      return sendSpans(collector.scribe, [{ ...root!, annotations: new Map([['user', 'live']]) }, ...others])
    }
    await send(101n)
    const ids = () =>
      page
        .locator('.result')
        .evaluateAll(rows => rows.map(row => Number.parseInt(row.getAttribute('href')!.slice(6), 16)))
    await until('the first is found', async () => {
      await page.reload()
      await page.locator('.result, .notice').first().waitFor()
      return (await ids()).length === 1
    })
    await page.getByRole('button', { name: 'Live' }).click()
    await arrived(page, /live=1/)
    await page.mouse.move(5, 5)
    await send(102n)
    await until('the second is on top', async () => (await ids()).join() === '102,101')
    await page.locator('.result').first().hover()
    await send(103n)
    await page.getByRole('button', { name: 'Show a new trace' }).click()
    await until('the third is on top', async () => (await ids()).join() === '103,102,101')
    await page.getByRole('button', { name: 'Live' }).click()
    await page.waitForURL(url => !url.searchParams.has('live'))
  })

  it('filters errors by service, and leads to their traces and to a search', async () => {
    const { page } = tests
    await page.goto('/errors?from=-2h')
    const kinds = page.getByRole('table', { name: 'Kinds of errors' }).locator('tbody tr')
    await kinds.first().waitFor()
    await page.getByLabel('Service').selectOption('catalog')
    await arrived(page, /service=catalog/)
    await page.getByRole('heading', { name: 'No errors in this time range' }).waitFor()
    await page.getByLabel('Service').selectOption('payment')
    await arrived(page, /service=payment/)
    await kinds.first().waitFor()
    await kinds.getByRole('link', { name: /^search/ }).click()
    await arrived(page, /\/search\?q=/)
    assert.equal(
      await page.getByRole('combobox', { name: 'Search' }).inputValue(),
      'name:Payment.charge service:payment error last 2h',
    )
    await page
      .getByRole('link', { name: /^others like it: CardDeclined/ })
      .first()
      .click()
    await arrived(page, /\/errors\?/)
    await kinds.first().waitFor()
    await page.getByRole('button', { name: 'Errors of any type' }).waitFor()
  })

  it('fits every width without a scroll sideways, and has no serious axe violation', async () => {
    const { page } = tests
    for (const width of [360, 768, 1440]) {
      await page.setViewportSize({ width, height: 800 })
      for (const [path, ready] of [
        ['/search?q=service%3Aweb+last+2h', '.scatter canvas'],
        ['/errors?from=-2h', '.error-table tbody tr'],
      ] as const) {
        await page.goto(path)
        await page.locator(ready).first().waitFor()
        await fits(page, path, [width])
        if (width === 360) await nothingSerious(page)
      }
    }
  })
})
