import assert from 'node:assert/strict'
import type { SpanRecord } from '../../src/codec/span'
import { nothingSerious } from '../helpers/axe'
import { arrived, fits, pageTests, says, server } from '../helpers/page'
import { sendSpans } from '../helpers/send'
import { until } from '../helpers/until'

const idOf = (n: number) => (0xc0000 + n).toString(16).padStart(16, '0')

/** Web calls a cart, which asks for prices: the slow ones ask more often, and every other of these fails. */
function checkout(n: number): SpanRecord[] {
  const isSlow = n % 4 === 3
  const traceId = BigInt(0xc0000 + n)
  const ms = isSlow ? 200 + n : 20 + (n % 7)
  const failed = n % 8 === 7
  return [
    server({ traceId, id: 1n, name: 'POST /checkout', service: 'web', from: 1000 * n, ms }),
    server({ traceId, id: 2n, parentId: 1n, name: 'Cart.total', service: 'cart', from: 1000 * n + 1, ms: ms - 2 }),
    ...Array.from({ length: isSlow ? 9 : 1 }, (_, i) =>
      server({
        ...{ traceId, id: BigInt(10 + i), parentId: 2n, name: 'Pricing.quote', service: 'pricing' },
        ...{ from: 1000 * n + 2 + i * 20, ms: isSlow ? 18 : 6 },
        ...(failed &&
          i === 8 && {
            annotations: new Map([
              ['error.type', 'NoPrice'],
              ['error.message', `item ${n}`],
            ]),
          }),
      }),
    ),
  ]
}

describe('the web page: comparisons, in Chromium', function () {
  this.timeout(90_000)
  const tests = pageTests()

  before(async () => {
    await sendSpans(tests.collector.scribe, Array.from({ length: 48 }, (_, n) => checkout(n)).flat())
    await until('all are found', async () => {
      const answer = await fetch(`${tests.collector.web}/api/search?limit=100`)
      return (await answer.json()).traces.length === 48
    })
  })

  const calls = () => tests.page.locator('.table tbody tr', { has: tests.page.locator('.diff-name') })

  it('compares a trace with a typical one in a click, and says what it does more and where it fails', async () => {
    const { page } = tests
    await page.goto(`/trace/${idOf(7)}`)
    await page.getByRole('link', { name: 'Compare with a typical one' }).click()
    await arrived(page, new RegExp(`/compare\\?a=${idOf(7)}&with=typical`))
    await calls().first().waitFor()
    await says(
      page.locator('.summary'),
      /^The typical trace took 2\d\.\d ms with 3 spans; this trace took 207 ms with 11 spans\. That is 18\d ms more\. 3 calls differ\./,
    )
    await says(page.locator('.parts li').first(), /^\+1\d\d ms Pricing\.quote pricing/)
    await says(page.locator('.compare-errors tbody'), /NoPrice: item 7 only in this trace Pricing\.quote pricing – 1/)
    await says(calls().last(), /^\+ Pricing\.quote failed in this trace pricing 1 9 /)
    await nothingSerious(page)
    await page.locator('.compare-errors').getByRole('link', { name: '1' }).click()
    await arrived(page, new RegExp(`/trace/${idOf(7)}\\?span=0000000000000012`))
  })

  it('offers traces of the same operation for one trace, and swaps two', async () => {
    const { page } = tests
    await page.goto(`/compare?a=${idOf(7)}`)
    await page.getByText('47 other traces of POST /checkout in web were looked at').waitFor()
    const list = (title: string) => page.locator('.choose-lists > div', { hasText: title })
    assert.deepEqual(await list('The slowest').getByRole('link').allTextContents(), [
      '247 ms',
      '243 ms',
      '239 ms',
      '235 ms',
      '231 ms',
    ])
    await says(list('The slowest').locator('li').first(), /247 ms Error 11 spans/)
    await nothingSerious(page)
    await list('The fastest').getByRole('link').first().click()
    await calls().first().waitFor()
    await page.getByText(/That is 187 ms more/).waitFor()
    await page.getByRole('link', { name: 'Swap' }).click()
    await page.getByText(/That is 187 ms less/).waitFor()
    await page.getByText('Where the time was saved').waitFor()
    await page.goto('/compare')
    await page.getByLabel('First trace').fill(`${tests.collector.web}/trace/${idOf(0)}`)
    await page.getByLabel('Second trace').fill('nonsense!')
    await page.getByRole('button', { name: 'Compare' }).click()
    await page.getByText('No trace id found').waitFor()
    await page.getByLabel('Second trace').fill(idOf(1))
    await page.getByRole('button', { name: 'Compare' }).click()
    await arrived(page, new RegExp(`a=${idOf(0)}&b=${idOf(1)}`))
    await page.getByText('They made the same calls.').waitFor()
    await page.goto(`/compare?a=${idOf(0)}&b=00000000000fffff`)
    tests.expected = /404/
    await page.getByRole('heading', { name: "The second trace couldn't be read" }).waitFor()
  })

  it('compares fast and slow traces of a search, by what is beyond chance', async () => {
    const { page } = tests
    // All are old: the last hour has none.
    await page.goto('/compare?groups=fast-slow')
    await page.getByText('No trace of this search was found').waitFor()
    const search = 'name:"POST /checkout" from:2025-06-15T00:00Z to:2025-06-16T00:00Z'
    await page.goto(`/compare?${new URLSearchParams({ q: search, order: 'longest', groups: 'fast-slow' })}`)
    await calls().first().waitFor()
    await says(
      page.locator('.summary').first(),
      /^Of POST \/checkout in web, the 12 fastest \(20\.0 ms to 2\d\.\d ms\) and the 12 slowest \(203 ms to 247 ms\) traces were compared/,
    )
    await says(page.locator('.parts li').first(), /Pricing\.quote pricing/)
    await says(calls().last(), /^\+ Pricing\.quote pricing 1 9 6\.00 ms 162 ms \+156 ms/)
    await says(
      page.locator('.compare-errors tbody'),
      /NoPrice: item \d+ only in slow traces Pricing\.quote pricing – 6 of 12/,
    )
    await nothingSerious(page)
    await page.getByRole('link', { name: 'What else do the slow traces have in common?' }).click()
    await arrived(page, /\/difference\?q=.*trace\.min_duration=203ms/)
    await page.getByRole('link', { name: 'Compare the calls of fast and slow traces' }).click()
    await calls().first().waitFor()
    await page.getByRole('link', { name: 'Compare these two' }).click()
    await arrived(page, /\/compare\?a=[0-9a-f]+&b=[0-9a-f]+$/)
    await page.getByText(/The first trace took/).waitFor()
  })

  it('fits a screen 360 pixels wide', async () => {
    const { page } = tests
    await page.setViewportSize({ width: 360, height: 740 })
    const search = new URLSearchParams({
      name: 'POST /checkout',
      from: '2025-06-15T00:00:00Z',
      to: '2025-06-16T00:00:00Z',
    })
    for (const query of [
      '',
      `?a=${idOf(3)}`,
      `?a=${idOf(7)}&b=${idOf(0)}`,
      `?a=${idOf(7)}&with=typical`,
      `?${search}&groups=fast-slow`,
    ]) {
      await page.goto(`/compare${query}`)
      await page.locator('.notice, .choose, .table').first().waitFor()
      await fits(page, query, [360])
    }
  })
})
