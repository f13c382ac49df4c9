import { setTimeout } from 'node:timers/promises'
import { chromium } from 'playwright-core'
import { tsImport } from 'tsx/esm/api'
import { machine, median, progress, table } from '../measure.mjs'

/*
 * The page of one trace in headless Chromium, Milo's beside zipkin-server's with the same spans, each from its own server with
 * an empty cache: how long until all spans are there and can be used, and how many frames a second scrolling and zooming hold.
 */

export const options = {
  /** So often each page is opened. */
  rounds: { type: 'string', default: '3' },
  /** Sizes of the trace. */
  spans: { type: 'string', default: '100,1000,10000,80000,100000' },
  /** What zipkin's page has not shown by then counts as never. */
  limit: { type: 'string', default: '60' },
  /** Without zipkin-server. */
  alone: { type: 'boolean', default: false },
}

/** Issue 7: interactive within so many milliseconds. */
const BUDGET_MS = { 10000: 1000, 100000: 4000 }
const FRAMES = 30
const FRAMES_MS = 2000
const START_US = 1_750_000_000_000_000

export async function bench(values) {
  const { startCollector } = await typescript('helpers/programs.ts')
  const { chromiumPath } = await typescript('servers/index.ts')
  const { startZipkin } = await typescript('servers/zipkin.ts')
  const sizes = values.spans.split(',').map(Number)
  const limitMs = 1000 * Number(values.limit)
  const collector = await startCollector()
  const rows = []
  let failed = false
  let gaveUp = false
  let zipkin
  try {
    zipkin = values.alone ? undefined : await startZipkin(['-Xmx1g'])
    const chromiumAt = await chromiumPath()
    for (const spans of sizes) {
      const id = await fill(spans, collector, zipkin)
      progress(`${spans} spans: Milo`)
      const milo = await measure(chromiumAt, Number(values.rounds), 4 * limitMs, page =>
        openMilo(page, collector.web, id),
      )
      let theirs
      if (zipkin !== undefined) {
        progress(`${spans} spans: Zipkin`)
        // What wasn't shown in time isn't waited for again with more spans.
        theirs = gaveUp
          ? NEVER
          : await measure(chromiumAt, 1, limitMs + 30_000, page => openZipkin(page, zipkin.web, id, spans, limitMs))
        gaveUp = !Number.isFinite(theirs.shownMs)
      }
      const budget = BUDGET_MS[spans]
      const slow = (budget !== undefined && milo.shownMs > budget) || milo.scroll < FRAMES || milo.zoom < FRAMES
      failed ||= slow
      rows.push([
        spans.toLocaleString('en'),
        `${Math.round(milo.firstMs)}`,
        `${Math.round(milo.shownMs)}${budget === undefined ? '' : ` (≤ ${budget})`}`,
        Math.round(milo.scroll),
        Math.round(milo.zoom),
        theirs === undefined ? '–' : Number.isFinite(theirs.shownMs) ? Math.round(theirs.shownMs) : 'never',
        theirs === undefined || !Number.isFinite(theirs.shownMs) ? '–' : Math.round(theirs.scroll),
      ])
    }
  } finally {
    await zipkin?.stop()
    await collector.stop()
  }
  const head = [
    'spans',
    'Milo: first rows, ms',
    'all, ms',
    'scroll, frames/s',
    'zoom, frames/s',
    'Zipkin: shown, ms',
    'scroll, frames/s',
  ]
  const about = `The page of one trace, headless Chromium, ${machine()}. From an empty cache, servers and browser on
the same cores; medians of ${values.rounds}. "Never": not within ${values.limit} s. At least ${FRAMES} frames a second are wanted.`
  return {
    text: `${about}\n\n${table(
      head,
      rows.map(row => row.map(String)),
    )}`,
    failed,
  }
}

function typescript(path) {
  return tsImport(`../../${path}`, import.meta.url).then(module => module.default ?? module)
}

/** The same spans in both. @returns the trace's id */
async function fill(spans, collector, zipkin) {
  const { generateTrace } = await typescript('helpers/generated-trace.ts')
  const { sendSpans } = await typescript('helpers/send.ts')
  await sendSpans(collector.scribe, generateTrace({ traceId: BigInt(spans), spans, startUs: START_US }))
  const id = spans.toString(16).padStart(16, '0')
  if (zipkin === undefined) return id
  const list = await (await fetch(`${collector.web}/api/traces/${id}?form=zipkin`)).json()
  for (let from = 0; from < list.length; from += 5000) {
    const headers = { 'content-type': 'application/json' }
    const body = JSON.stringify(list.slice(from, from + 5000))
    const answer = await fetch(`${zipkin.web}/api/v2/spans`, { method: 'POST', headers, body })
    if (answer.status !== 202) throw new Error(`zipkin-server answered ${answer.status}`)
  }
  return id
}

/** Each round in a browser of its own, which is killed: a page that hangs doesn't close by being asked. */
async function measure(executablePath, rounds, giveUpMs, open) {
  const results = []
  for (let round = 0; round < rounds; round++) {
    const server = await chromium.launchServer({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] })
    try {
      const browser = await chromium.connect(server.wsEndpoint())
      const page = await browser.newPage({ viewport: { width: 1280, height: 800 } })
      results.push(await Promise.race([open(page), setTimeout(giveUpMs, NEVER, { ref: false })]))
    } finally {
      await server.kill()
    }
  }
  const of = key => median(results.map(result => result[key]))
  return { firstMs: of('firstMs'), shownMs: of('shownMs'), scroll: of('scroll'), zoom: of('zoom') }
}

const NEVER = { firstMs: Infinity, shownMs: Infinity, scroll: 0, zoom: 0 }

async function openMilo(page, web, id) {
  const start = performance.now()
  await page.goto(`${web}/trace/${id}`)
  await page.locator('.row').first().waitFor()
  const firstMs = performance.now() - start
  await page.locator('.loading-bar:not(:has(progress))').waitFor({ timeout: 120_000 })
  // It can be used when it answers: a row is chosen, and its detail is there.
  await page.locator('.row').nth(1).click()
  await page.locator('.detail h2').waitFor()
  const shownMs = performance.now() - start
  await page.keyboard.press('Escape')
  const scroll = await frames(page, () => scrollBy(0, 120))
  await page.evaluate(() => scrollTo(0, 0))
  const zoom = await frames(page, i => {
    const { left, width } = document.querySelector('canvas.bars').getBoundingClientRect()
    const deltaY = i % 40 < 20 ? -40 : 40
    const at = { clientX: left + width / 2, clientY: 400, bubbles: true, cancelable: true }
    document.querySelector('.rows').dispatchEvent(new WheelEvent('wheel', { ctrlKey: true, deltaY, ...at }))
  })
  return { firstMs, shownMs, scroll, zoom }
}

async function openZipkin(page, web, id, spans, limitMs) {
  const start = performance.now()
  await page.goto(`${web}/zipkin/traces/${id}`)
  /** The list of spans: the box that is about 30 pixels a span high. */
  const shown = await page
    .waitForFunction(
      spans => {
        const lists = [...document.querySelectorAll('div')].filter(div => div.scrollHeight >= Math.min(spans * 25, 1e6))
        const list = lists.find(
          div => div.clientHeight < div.scrollHeight && /auto|scroll/.test(getComputedStyle(div).overflowY),
        )
        if (list === undefined || !/Total Spans/.test(document.body.textContent)) return false
        list.id = 'measured'
        return true
      },
      spans,
      // Looking is work for the page, too.
      { timeout: limitMs, polling: 250 },
    )
    .catch(() => undefined)
  if (shown === undefined) return NEVER
  const shownMs = performance.now() - start
  const scroll = await frames(page, () => document.getElementById('measured').scrollBy(0, 120))
  return { firstMs: shownMs, shownMs, scroll, zoom: 0 }
}

/** Frames a second while `step` is done before each. */
function frames(page, step) {
  const code = `(async () => {
    const step = ${step}
    const start = performance.now()
    let n = 0
    while (performance.now() - start < ${FRAMES_MS}) {
      step(n++)
      await new Promise(requestAnimationFrame)
    }
    return (1000 * n) / (performance.now() - start)
  })()`
  return page.evaluate(code)
}
