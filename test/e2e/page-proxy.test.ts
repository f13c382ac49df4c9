import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { arrived, findResult, pageTests, rowsOf, SHOP_ID, shop, webCollector } from '../helpers/page'
import { sendSpans } from '../helpers/send'

/** `takes`: as nginx with a path on both sides of proxy_pass; otherwise the path is passed on. */
async function proxyTo(
  url: string,
  prefix: string,
  takes: boolean,
): Promise<{ url: string; outside: string[]; close(): void }> {
  const outside: string[] = []
  const proxy = createServer((asked, answer) => {
    const path = asked.url!
    if (!path.startsWith(`${prefix}/`)) {
      outside.push(path)
      answer.writeHead(404).end()
      return
    }
    const upstream = request(
      new URL(takes ? path.slice(prefix.length) : path, url),
      { method: asked.method!, headers: { ...asked.headers, host: new URL(url).host } },
      got => {
        answer.writeHead(got.statusCode!, got.headers)
        got.pipe(answer)
      },
    )
    upstream.on('error', () => answer.destroy())
    asked.pipe(upstream)
  }).listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  const { port } = proxy.address() as AddressInfo
  const close = () => {
    proxy.close()
    proxy.closeAllConnections()
  }
  return { url: `http://127.0.0.1:${port}`, outside, close }
}

describe('the web page behind a proxy, in Chromium', function () {
  this.timeout(90_000)
  const tests = pageTests()

  for (const takes of [true, false]) {
    it(`works under a path that the proxy ${takes ? 'removes, without a setting' : 'passes on, with http.base_path'}`, async () => {
      const { page } = tests
      const own = takes ? undefined : await webCollector({ base_path: '/tools/milo' })
      const { web, scribe } = own ?? tests.collector
      await sendSpans(scribe, shop)
      const proxy = await proxyTo(web, '/tools/milo', takes)
      const base = `${proxy.url}/tools/milo`
      try {
        // A list, from it a trace, from it back.
        const result = await findResult(page, `${base}/`, 'POST /checkout')
        await result.click()
        await arrived(page, `${base}/trace/${SHOP_ID}`)
        await rowsOf(page).first().waitFor()
        await page.goBack()
        await arrived(page, `${base}/`)
        // A search, and its address loaded again.
        await page.getByRole('combobox', { name: 'Search' }).fill('service:cart')
        await page.keyboard.press('Enter')
        await arrived(page, `${base}/search?q=service%3Acart`)
        await page.reload()
        await page.locator('.result').first().waitFor()
        // Every part that has an address, a worker or a file of its own.
        await page.goto(`${base}/trace/${SHOP_ID}/?tab=graph`)
        await page.locator('.graph-box .node').first().waitFor()
        await page.getByRole('link', { name: 'JSON' }).click()
        const download = page.waitForEvent('download')
        await page.getByRole('link', { name: 'Download' }).click()
        assert.equal((await download).url(), `${base}/api/traces/${SHOP_ID}`)
        await page.goto(`${base}/trace/${SHOP_ID}?tab=compare&with=${SHOP_ID}`)
        await page.getByText('They made the same calls').waitFor()
        await page.getByRole('link', { name: 'Services' }).click()
        await arrived(page, `${base}/services`)
        await page.getByRole('heading', { name: 'Services', exact: true }).waitFor()
        await page.getByRole('link', { name: 'Milo' }).click()
        await arrived(page, `${base}/`)
        // What a proxy does with a path without its slash is its own affair, but where it passes it on, it is known.
        if (own !== undefined) {
          await page.goto(`${own.web}/tools/milo`)
          await page.locator('.result').first().waitFor()
          await page.goto(`${own.web}/services`)
          await page.getByRole('heading', { name: 'Services', exact: true }).waitFor()
        }
        assert.deepEqual(proxy.outside, [])
      } finally {
        await page.goto('about:blank')
        const ours = [proxy.url, own?.web ?? proxy.url]
        tests.elsewhere = tests.elsewhere.filter(url => !ours.some(our => url.startsWith(`${our}/`)))
        proxy.close()
      }
    })
  }
})
