import assert from 'node:assert/strict'
import type { Page } from 'playwright-core'
import { EventType } from '../../src/codec/span'
import { nothingSerious } from '../helpers/axe'
import { CHECKOUT, hexOf, keptShop, keptTrace, pollRing } from '../helpers/kept-shop'
import { arrived, becomes, counts, detailOf, EVIL, fits, loaded, pageTests, rowsOf, says, shown } from '../helpers/page'
import { sendSpans } from '../helpers/send'
import { until } from '../helpers/until'

describe('the web page: what was kept after the fact, in Chromium', function () {
  this.timeout(90_000)
  const tests = pageTests()
  const tableOf = (page: Page, name: string) => page.getByRole('table', { name }).locator('tbody tr')

  it('says how histories are switched on while no process has one, and that nothing may come of a question', async () => {
    const { page } = tests
    await page.goto('/')
    await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: 'Kept' }).click()
    await arrived(page, /\/kept$/)
    await says(page.locator('.notice'), /No process with a history asks this collector.*MILO_RETROACTIVE=1/)
    await page.keyboard.press('/')
    await page.keyboard.type('shop')
    await page.keyboard.press('Tab')
    await page.keyboard.type('Shop.order')
    await page.keyboard.press('Enter')
    // Before the answer it says that processes are being told.
    const outcome = page.locator('.keep-outcome p', { hasText: 'No process was told' })
    await says(outcome, /^No process was told, so nothing may come\. .* then ask again/)
    await page.getByLabel('Trace id').last().fill('not one!')
    await page.getByRole('button', { name: 'Keep it' }).click()
    await page.getByText('No trace id found').waitFor()
    await nothingSerious(page)
  })

  it('lists what was caught by reason and operation, and narrows to one; each number leads to traces', async () => {
    const { page } = tests
    await keptShop(tests.collector)
    await page.goto('/kept')
    const caught = tableOf(page, 'What was caught')
    await says(caught.first(), /^slow POST \/checkout web 2 [\d:]+ [\d:]+ newest 2 search$/)
    const said = await caught.allInnerTexts()
    for (const what of ['big order', 'lateral'])
      assert.ok(
        said.some(text => text.includes(what)),
        what,
      )
    const search = caught.first().getByRole('link', { name: /^search/ })
    const asked = new URLSearchParams((await search.getAttribute('href'))!.split('?')[1])
    assert.equal(asked.get('q'), 'name:"POST /checkout" service:web milo.keep=slow last 1h')
    await says(tableOf(page, 'Services with histories').last(), /^web 2 .+ s \d+ min \d\d s [\d:]+ what it kept$/)
    await nothingSerious(page)
    await caught
      .filter({ hasText: 'Cart.total' })
      .getByRole('link', { name: /^Cart\.total/ })
      .click()
    await arrived(page, /service=cart&name=Cart\.total/)
    await counts(caught, 1)
    await becomes(() => page.getByLabel('Operation', { exact: true }).inputValue(), 'Cart.total')
    await page.getByRole('button', { name: 'Of any operation' }).click()
    await arrived(page, /service=cart$/)
    await search.first().click()
    await says(page.locator('.result'), /POST \/checkout Error kept: error/)
  })

  it('asks for the next traces of an operation, and shows them as they come', async () => {
    const { page } = tests
    // From the page of the operation.
    await page.goto('/services/web?name=POST%20%2Fcheckout&side=server')
    await page.getByRole('link', { name: 'Keep the next traces of this operation' }).click()
    await arrived(page, /\/kept\?/)
    await tableOf(page, 'What was caught').first().waitFor()
    const known = page.locator('datalist option[value="pricing"]')
    await known.waitFor({ state: 'attached' })
    await page.getByLabel('Traces', { exact: true }).fill('3')
    await page.getByRole('button', { name: 'Keep the next' }).click()
    const outcome = page.locator('.keep-outcome p', { hasText: 'told' })
    await says(outcome, /^5 processes were told\. Each process of web keeps the next 3 traces with POST \/checkout/)
    const requests = tableOf(page, 'What people asked for')
    await says(requests, /^the next 3 traces a process of POST \/checkout web [\d:]+ unknown search$/)
    await sendSpans(
      tests.collector.scribe,
      keptTrace({ i: 20, startUs: Date.now() * 1000 - 80_000, reason: 'requested' }),
    )
    await tableOf(page, 'What was caught').filter({ hasText: 'requested' }).waitFor()
    // None of them is of this service.
    await page.getByLabel('Service', { exact: true }).fill('elsewhere')
    await page.getByRole('button', { name: 'Keep the next' }).click()
    await page.getByText('But no process of elsewhere asks now').waitFor()
    // As long as a span's name may be, with what is typed into it.
    const long = 'n'.repeat(248)
    await page.goto(`/kept?service=web&name=${long}`)
    const operation = page.getByLabel('Operation', { exact: true })
    await operation.press('End')
    await page.keyboard.insertText('-as-long')
    await page.getByRole('button', { name: 'Keep the next' }).click()
    await says(outcome, new RegExp(`keeps the next 10 traces with ${long}-as-long that`))
  })

  it('says of a trace which operation kept it, though that span hasn’t come', async () => {
    const { page } = tests
    const trace = keptTrace({
      i: 25,
      startUs: Date.now() * 1000,
      reason: 'big order',
      name: 'SELECT',
      service: 'till',
      cause: 'pay',
    })
    await sendSpans(tests.collector.scribe, trace)
    await page.goto(`/trace/${hexOf(trace[0]!.traceId!)}`)
    const bar = page.getByRole('region', { name: 'Kept after the fact' })
    await says(bar, /because the application said so: big order, at pay of till\./)
  })

  it('says in a trace why it was kept, and what is missing at which span and why', async () => {
    const { page } = tests
    await page.goto(`/trace/${CHECKOUT}`)
    const bar = page.getByRole('region', { name: 'Kept after the fact' })
    // A process that has lost its connection has ended once it hasn't come back for 10 s.
    await says(
      bar,
      /^Not sampled, but kept after the fact because something in it failed, at Cart\.total of cart\. Figures of services don't count it\. Left out, because there were too many for the limits: 7 spans of web\. 5 parts missing: 2 because no process with a history is known there; 1 because a history was overwritten before it was asked; (1 because a process had ended; 1 not sent: |1 not sent: .*; 1 of which it isn’t known, or not yet)/,
    )
    await loaded(page)
    const rows = await rowsOf(page).allInnerTexts()
    for (const [name, why] of [
      ['Payment.charge', /server: no history/],
      ['Stock.reserve', /server: (not known|ended)/],
      ['Pricing.quote', /server: overwritten/],
      ['Mail.send', /server: not sent/],
      ['Audit.write', /parent: no history/],
    ] as const) {
      assert.ok(
        rows.some(row => row.includes(name) && why.test(row)),
        `${name}: ${why} in ${rows}`,
      )
    }
    assert.equal(rows.filter(row => /missing|: (no history|not known|ended|not sent|overwritten)/.test(row)).length, 5)
    await bar.locator('summary').click()
    await bar.getByRole('button', { name: 'Pricing.quote' }).click()
    const detail = detailOf(page)
    await detail
      .getByText(/The server’s half is missing: if this was .* on pricing1: its history began at .*, after this/)
      .waitFor()
    await says(detail, /Sampled no Kept after the fact, because another process kept it/)
    await bar.getByRole('button', { name: 'Cart.total' }).click()
    await detail.getByText('History since').waitFor()
    assert.doesNotMatch(await shown(detail), /milo\.history/)
    await bar.getByRole('button', { name: 'Ask for it again' }).click()
    await bar.getByText('5 processes were told').waitFor()
    await nothingSerious(page)
    await fits(page, 'the trace')
  })

  it('counts what is missing also where it is more than is listed', async () => {
    const { page } = tests
    const trace = keptTrace({ i: 27, startUs: Date.now() * 1000, reason: 'error' })
    const calls = Array.from({ length: 1_100 }, (_, i) => ({ ...trace[0]!, id: 1_000n + BigInt(i), parentId: 1n }))
    for (const call of calls) call.events = [{ ...trace[0]!.events![0]!, eventType: EventType.CLIENT_SEND }]
    await sendSpans(tests.collector.scribe, [...trace, ...calls])
    await page.goto(`/trace/${hexOf(trace[0]!.traceId!)}`)
    const bar = page.getByRole('region', { name: 'Kept after the fact' })
    await says(bar, /1,1\d\d parts missing: of 1,000 of them, /)
    await bar.locator('summary').click()
    await bar.getByText(/^and 1\d\d more$/).waitFor()
  })

  it('offers to keep a trace that isn’t stored, and opens it once it has come', async () => {
    const { page } = tests
    tests.expected = /404/
    const trace = keptTrace({ i: 30, startUs: Date.now() * 1000, reason: 'asked' })
    await page.goto(`/trace/${hexOf(trace[0]!.traceId!)}`)
    await page.getByRole('button', { name: 'Keep this trace' }).click()
    await page.getByText('5 processes were told. If one of them still has it').waitFor()
    await nothingSerious(page)
    await sendSpans(tests.collector.scribe, trace)
    await page.getByText('because somebody asked for it by its id').waitFor()
  })

  it('shows hostile names as text, in any width', async () => {
    const { page } = tests
    const long = (text: string) => EVIL + text.repeat(60)
    pollRing(tests.collector, { service: long('s'), host: EVIL, process: 99, historyUs: 1 })
    await sendSpans(
      tests.collector.scribe,
      keptTrace({ i: 40, startUs: Date.now() * 1000, reason: EVIL, name: long('n'), service: long('s') }),
    )
    await page.goto('/kept')
    await until('all is listed', async () => {
      await page.reload()
      await tableOf(page, 'What was caught').first().waitFor()
      const [caught, rings] = [tableOf(page, 'What was caught'), tableOf(page, 'Services with histories')]
      return (await caught.or(rings).filter({ hasText: '<script>alert(2)' }).count()) === 2
    })
    await fits(page, 'what was kept')
    await page.goto('/search?q=last%201h')
    await page.locator('.result', { hasText: '<img' }).locator('.kept-mark').waitFor()
    await fits(page, 'the list')
    await page.goto(`/trace/${hexOf(keptTrace({ i: 40, startUs: 0, reason: '' })[0]!.traceId!)}`)
    await page.getByText('the application said so: <img').waitFor()
    await fits(page, 'the trace')
  })
})
