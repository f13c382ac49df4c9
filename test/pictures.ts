import { join } from 'node:path'
import { chromium, type Page } from 'playwright-core'
import type { SpanRecord } from '../src/codec/span'
import { undo } from './collector/support'
import { ROOT } from './helpers/child'
import { generateTrace } from './helpers/generated-trace'
import { keptShop } from './helpers/kept-shop'
import { drawn, webCollector } from './helpers/page'
import { sendSpans } from './helpers/send'
import { until } from './helpers/until'
import { chromiumPath } from './servers'
import './servers/embedded-worker'

/** Takes the pictures of docs/images: npm run pictures. They show a checkout that has become slower an hour ago. */

const HOUR_US = 3600e6
const NOW_US = Date.now() * 1000
const SLOWER_US = NOW_US - HOUR_US
const TRACES = 600
/** An odd factor, so that the low bits, by which traces are grouped, are as mixed as those of random ids. */
const idOf = (i: number) => BigInt.asUintN(63, BigInt(i + 1) * 0x9e3779b97f4a7c15n)
const hexOf = (id: bigint) => id.toString(16).padStart(16, '0')

/** Three hours of traffic, newest last. Each trace stands for four. */
function traffic(): SpanRecord[] {
  return Array.from({ length: TRACES }, (_, i) => {
    const startUs = NOW_US - 3 * HOUR_US + Math.floor((i * 2.98 * HOUR_US) / TRACES)
    const lengthUs = (startUs < SLOWER_US ? 60_000 : 130_000) + ((i * 7919) % 97) * (i % 11 === 0 ? 2_000 : 300)
    return generateTrace({ traceId: idOf(i), spans: i % 50 === 49 ? 148 : 24 + (i % 7), startUs, lengthUs })
  })
    .flat()
    .map(record => ({ ...withMessage(record), probability: 0.25 }))
}

function withMessage(record: SpanRecord): SpanRecord {
  const { annotations, service, traceId } = record
  if (!annotations?.has('error.type')) return record
  const [type, message] =
    service === 'inventory'
      ? ['SoldOut', `only ${Number(traceId! % 3n)} of item ${traceId! % 1000n} are left`]
      : ['TIMEOUT', `no answer within ${service === 'mail' ? 500 : 250} ms`]
  return { ...record, annotations: new Map([...annotations, ['error.type', type!], ['error.message', message!]]) }
}

const SHOWN = hexOf(idOf(TRACES - 1))

/** What is in each picture: an address, and what is done there. */
const PICTURES: Record<string, [path: string, act?: (page: Page) => Promise<unknown>]> = {
  find: ['search?q=name%3AInventory.check%20last%203h'],
  errors: ['errors?from=-3h'],
  trace: [
    `trace/${SHOWN}`,
    async page => {
      await page.getByRole('searchbox', { name: 'Search within the trace' }).fill('inventory')
      await page.getByRole('status').filter({ hasText: /^\d/ }).waitFor()
      await page.keyboard.press('Enter')
      await page.getByRole('treeitem').nth(5).click()
      await page.getByRole('heading', { name: 'Annotations' }).waitFor()
    },
  ],
  compare: [`compare?a=${SHOWN}&with=typical`],
  services: ['services/inventory?from=-3h'],
  graph: ['graph?from=-3h'],
  changes: [`changes?moment=${SLOWER_US}&span=30m`],
}

async function main(wanted: string[]): Promise<void> {
  const { web, scribe } = await webCollector()
  const browser = await chromium.launch({ executablePath: await chromiumPath(), args: ['--no-sandbox'] })
  try {
    await sendSpans(scribe, traffic())
    const page = await browser.newPage({ viewport: { width: 1280, height: 800 } })
    const newest = async () => (await (await fetch(`${web}/api/search?limit=1`)).json()).traces[0]?.traceId
    await until('all is found', async () => (await newest()) === SHOWN, 60_000)
    const isWanted = (name: string) => wanted.length === 0 || wanted.includes(name)
    const take = async (name: string, url: string, act?: (page: Page) => Promise<unknown>) => {
      await page.goto(url)
      await page.locator('h1').first().waitFor()
      await page.waitForLoadState('networkidle')
      await act?.(page)
      await drawn(page)
      await page.screenshot({ path: join(ROOT, `docs/images/${name}.png`) })
      process.stdout.write(`docs/images/${name}.png\n`)
    }
    for (const [name, [path, act]] of Object.entries(PICTURES)) {
      if (isWanted(name)) await take(name, `${web}/${path}`, act)
    }
    if (isWanted('kept')) await takeKept(url => take('kept', url))
  } finally {
    await browser.close()
    await undo()
  }
}

/** A shop of its own, with what it has kept after the fact and what somebody has asked for. */
async function takeKept(take: (url: string) => Promise<void>): Promise<void> {
  const shop = await webCollector()
  const rings = await keptShop(shop)
  await fetch(`${shop.web}/api/keep`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ service: 'web', name: 'POST /checkout', n: 5 }),
  })
  await take(`${shop.web}/kept`)
  for (const ring of rings) ring.end()
}

void main(process.argv.slice(2))
