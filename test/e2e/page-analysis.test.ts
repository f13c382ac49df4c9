import assert from 'node:assert/strict'
import { nothingSerious } from '../helpers/axe'
import { arrived, counts, EVIL, fits, pageTests, says } from '../helpers/page'
import { analysedShop, edgeLine, whole } from '../helpers/results'

/** The same results, with names that try to be something else. */
function hostile(from: string) {
  const evil = (name: string) => EVIL + name.repeat(40)
  const text = JSON.stringify(analysedShop(from, 50_000))
  const renamed = ['GET /checkout', 'Cart.total', 'cart'].reduce(
    (text, name) => text.replaceAll(JSON.stringify(name), JSON.stringify(evil(name))),
    text,
  )
  return [...JSON.parse(renamed), edgeLine(EVIL, 'x'.repeat(2_000), 1)]
}

const VIEWS = ['paths', 'regression', 'strange', 'instrumentation', 'edges']

describe('the web page: analysis, in Chromium', function () {
  this.timeout(90_000)
  const tests = pageTests()

  const load = async (results: object[]) => {
    const response = await fetch(`${tests.collector.web}/api/analysis`, { method: 'POST', body: whole(results) })
    assert.equal(response.status, 200, await response.text())
  }

  it('tells how to make the first one, while there is none', async () => {
    const { page } = tests
    await page.goto('/')
    await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: 'Analysis' }).click()
    await arrived(page, /\/analysis$/)
    await page.getByText('Nothing is analysed yet').waitFor()
    const notice = page.locator('.notice')
    await says(notice, /milo-collector export --hours .* map .* sort .* reduce .* milo-collector load --to http/)
    // In the last hour of a day, with the next one's date.
    await says(
      notice,
      /There is nothing to export yet: hours are exported when they are over, .* from (\w+ \d+, )?\d\d:02:00 on/,
    )
    await nothingSerious(page)
  })

  it('draws critical paths, by band and as a table, and each number leads to traces', async () => {
    const { page } = tests
    await load(analysedShop('2026-11-29T10:00Z', 20_000))
    await load(analysedShop('2026-11-30T10:00Z', 50_000))
    await page.goto('/analysis')
    await page.locator('.flame-box canvas').waitFor()
    const tip = page.locator('.flame-tip')
    // The operation that took most time altogether is shown.
    await says(tip, /GET \/checkout web .* with what is below it 100%, 60\.0 ms a trace · itself 6\.67%/)
    await page.locator('.flame-box').focus()
    for (const key of ['ArrowDown', 'ArrowDown', 'ArrowDown']) await page.keyboard.press(key)
    await says(tip, /SELECT db · with what is below it 83\.3%, 50\.0 ms a trace/)
    assert.equal(await tip.getByRole('link', { name: 'slow' }).getAttribute('href'), 'trace/000000000000000c')
    const search = await tip.getByRole('link', { name: 'Search' }).getAttribute('href')
    assert.match(
      new URLSearchParams(search!.split('?')[1]).get('q')!,
      /name:"?GET \/checkout"? .*>> .*name:SELECT .*from:2026/,
    )
    await page.keyboard.press('Enter')
    await arrived(page, /flame=2/)
    await page.keyboard.press('Escape')
    await arrived(page, /flame=1/)
    await page.getByRole('button', { name: 'p95 to p99' }).click()
    await arrived(page, /band=p95-p99/)
    await says(page.locator('.summary'), /4 traces of GET \/checkout web that took more than 120 ms and at most 180 ms/)
    await page.getByRole('button', { name: 'Table' }).click()
    await arrived(page, /as=table/)
    const rows = page.locator('.analysis-table tbody tr')
    await says(rows.first(), /GET \/checkout web ?Cart\.total cart ?SELECT db 50\.0 ms 83\.3% 83\.3% 4 search slow/)
    // The address has everything.
    await page.reload()
    await rows.nth(2).waitFor()
    await counts(rows, 3)
    await nothingSerious(page)
    await page.getByLabel('Root operation').selectOption({ index: 1 })
    await arrived(page, /rootName=job/)
    assert.doesNotMatch(page.url(), /rootService/)
  })

  it('says what made an operation slower, which traces are strange, and what is broken', async () => {
    const { page } = tests
    await page.goto('/analysis?view=regression')
    const rows = page.locator('.analysis-table tbody tr')
    await says(rows.first(), /GET \/checkout web \+30\.0 ms .* 30\.0 ms 60\.0 ms 100 100/)
    await rows.first().getByRole('link').click()
    await arrived(page, /rootName=GET/)
    await page.getByText('On the critical path').first().waitFor()
    await says(rows.first(), /SELECT db \+30\.0 ms .* 20\.0 ms → 50\.0 ms 1 → 1 before after/)
    await nothingSerious(page)
    await page.getByRole('link', { name: 'Slow and strange' }).click()
    await arrived(page, /view=strange/)
    await rows.first().waitFor()
    await says(rows.first(), /0000000000000015 GET \/checkout web 40\.0 ms 3 .* 1% 1/)
    await says(rows.last(), /0000000000000014 .* 900 ms/)
    await page.getByRole('link', { name: 'Instrumentation' }).click()
    await arrived(page, /view=instrumentation/)
    await rows.first().waitFor()
    await says(rows.first(), /cart 1\.2 200 20 \(10%\) 0 3 \(1\.5%\) 2 \(1%\)/)
    await page.getByRole('link', { name: 'Calls' }).click()
    await arrived(page, /view=edges/)
    await says(page.locator('.edges tbody tr').first(), /cart cart\.in db db\.call/)
    await page.goto('/analysis?window=2020-01-01T00..2020-01-01T01')
    await page.getByText('This time isn’t analysed').or(page.getByText("This time isn't analysed")).waitFor()
  })

  it('shows hostile names as text, in any width', async () => {
    const { page } = tests
    await load(hostile('2026-11-30T10:00Z'))
    for (const view of VIEWS) {
      for (const more of view === 'paths' ? ['', '&as=table'] : ['']) {
        await page.goto(`/analysis?view=${view}${more}`)
        await page.locator('.flame-box canvas, .table').first().waitFor()
        await fits(page, view)
        await nothingSerious(page)
      }
    }
  })
})
