import assert from 'node:assert/strict'
import { gzipSync } from 'node:zlib'
import { EventType } from '../../src/codec/span'
import { nothingSerious } from '../helpers/axe'
import {
  arrived,
  client,
  counts,
  detailOf,
  drag,
  drawn,
  EVIL,
  findResult,
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
import { until } from '../helpers/until'

const q = (text: string) => `/search?${new URLSearchParams({ q: text })}`

describe('the web page: finding, in Chromium', function () {
  this.timeout(90_000)
  const tests = pageTests()
  const send = (records: Parameters<typeof sendSpans>[1]) => sendSpans(tests.collector.scribe, records)

  it('tells people with an empty collector how to send a first trace', async () => {
    const response = await tests.page.goto('/')
    const csp = response!.headers()['content-security-policy'] ?? ''
    assert.match(csp, /default-src 'self'/)
    assert.doesNotMatch(csp, /unsafe-inline|'unsafe-eval'|https?:|data:|\*/)
    await tests.page.getByText('No traces yet').waitFor()
    await tests.page.getByText('npm run demo').waitFor()
    // The real ports.
    await tests.page.getByText(`MILO_SCRIBE=${tests.collector.scribe} node -r milo/register app.js`).waitFor()
    await tests.page.getByText(`OTEL_EXPORTER_OTLP_ENDPOINT=${tests.collector.web}`).waitFor()
    const command = await shown(tests.page.locator('pre', { hasText: 'curl' }))
    assert.ok(command.endsWith(`${tests.collector.web}/api/v2/spans`), command)
    const [span] = JSON.parse(/'(\[.*\])'/.exec(command)![1]!)
    assert.match(span.traceId, /^[0-9a-f]{16}$/)
    assert.equal(span.localEndpoint.serviceName, 'curl')
    await nothingSerious(tests.page)
  })

  it('loads less than 150 kB compressed, names each file but the first by its content, and asks no other host', async () => {
    await send(shop)
    await until('the trace is found', async () => {
      const answer = await (await fetch(`${tests.collector.web}/api/search`)).json()
      return (answer as { traces: unknown[] }).traces.length > 0
    })
    const loaded: Promise<[string, Buffer]>[] = []
    tests.page.on('response', response => {
      const { pathname } = new URL(response.url())
      if (!pathname.startsWith('/api/'))
        loaded.push(response.body().then(body => [pathname, body] as const as [string, Buffer]))
    })
    await tests.page.goto('/')
    await tests.page.locator('.scatter canvas').waitFor()
    await tests.page.locator('.result').first().click()
    await rowsOf(tests.page).first().waitFor()
    const files = await Promise.all(loaded)
    const bytes = files.reduce((sum, [, body]) => sum + gzipSync(body).length, 0)
    assert.ok(files.length >= 5, String(files.length))
    assert.ok(bytes <= 150_000, `${bytes} bytes: ${files.map(([path, body]) => `${path} ${gzipSync(body).length}`)}`)
    for (const [path] of files) if (path !== '/') assert.match(path, /^\/assets\/.+-[\w-]{8}\.\w+$/)
    assert.deepEqual(tests.elsewhere, [])
  })

  it('finds traces with the box’s language, and leads from a slow request to its cause in three clicks', async () => {
    const { page } = tests
    await page.goto('/')
    await page.getByRole('combobox', { name: 'Search' }).fill('name:Cart.total user=42 duration>20ms')
    await page.getByRole('button', { name: 'Search', exact: true }).click()
    await arrived(page, q('name:Cart.total user=42 duration>20ms'))
    const result = page.locator('.result')
    await result.getByText('80.0 ms').waitFor()
    await says(result, /web POST \/checkout ?Error cart 1 web \d 80\.0 ms 3 spans/)
    await result.click()
    await arrived(page, `/trace/${SHOP_ID}`)
    await rowsOf(page).nth(1).click()
    await detailOf(page).getByText('cache miss').waitFor()
    await page.goBack()
    await result.getByText('80.0 ms').waitFor()
    assert.equal(
      await page.getByRole('combobox', { name: 'Search' }).inputValue(),
      'name:Cart.total user=42 duration>20ms',
    )
  })

  it('suggests words of the language, keys, values, names and services while the user types', async () => {
    const { page } = tests
    // The caret must stay in place for users who type faster than a busy machine draws.
    await page.addInitScript(() => {
      const soon = window.requestAnimationFrame.bind(window)
      window.requestAnimationFrame = draw => soon(at => setTimeout(draw, 150, at))
    })
    await page.goto('/')
    const box = page.getByRole('combobox', { name: 'Search' })
    await box.click()
    await page.getByRole('option', { name: 'duration>' }).waitFor()
    await box.pressSequentially('us')
    await page.getByRole('option', { name: 'user' }).waitFor()
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('Enter')
    assert.equal(await box.inputValue(), 'user=')
    await page.getByRole('option', { name: '42' }).click()
    assert.equal(await box.inputValue(), 'user=42 ')
    await box.pressSequentially('service:ca')
    await page.getByRole('option', { name: 'cart' }).waitFor()
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('Tab')
    await box.pressSequentially('name:Cart.t')
    await page.getByRole('option', { name: 'Cart.total' }).click()
    await page.keyboard.press('Enter')
    await arrived(page, q('user=42 service:cart name:Cart.total'))
    await page.locator('.result').waitFor()
  })

  it('takes alternatives, numbers, what is not so and structure, and says so if the index can’t find them', async () => {
    const { page } = tests
    await page.goto('/')
    const box = page.getByRole('combobox', { name: 'Search' })
    await box.pressSequentially('(user=43 O')
    await page.getByRole('option', { name: /^OR/ }).click()
    assert.equal(await box.inputValue(), '(user=43 OR ')
    await box.pressSequentially('user>=')
    await page.getByRole('option', { name: '42' }).click()
    await box.pressSequentially(') NO')
    await page.getByRole('option', { name: /^NOT/ }).click()
    await box.pressSequentially('cache=hit >')
    await page.keyboard.press('Escape')
    await page.keyboard.press('Enter')
    await page.getByRole('alert').getByText('needs conditions on both sides').waitFor()
    await box.press('Backspace')
    await page.keyboard.press('Enter')
    await arrived(page, q('(user=43 OR user>=42 ) NOT cache=hit'))
    const result = page.locator('.result')
    await result.getByText('80.0 ms').waitFor()
    const note = page.getByRole('note').getByText(/reads every trace of the time range: \d+ traces? for this page/)
    assert.equal(await note.count(), 0)
    await page.goto(q('service:web >> NOT key:user name:Cart.total'))
    await page.getByText('Nothing matches').waitFor()
    await page.getByRole('link', { name: 'Search without NOT key:user' }).click()
    await result.getByText('80.0 ms').waitFor()
    await page.goto(q('NOT service:nobody'))
    await note.waitFor()
    await nothingSerious(page)
  })

  it('says what is wrong with a search, and where', async () => {
    const { page } = tests
    await page.goto('/')
    await page.getByRole('combobox', { name: 'Search' }).fill('user=42 duration>fast')
    await page.keyboard.press('Enter')
    await page.getByRole('alert').getByText('duration>fast').waitFor()
    assert.equal(new URL(page.url()).pathname, '/')
    await page.goto(q('duration>fast'))
    await page.getByText("That search can't be understood").waitFor()
  })

  it('has a form with fields, and switches between the form and the box', async () => {
    const { page } = tests
    await page.goto('/')
    await page.getByRole('link', { name: 'Fields' }).click()
    await page.getByLabel('Name').fill('Cart.total')
    await page.getByLabel('Key', { exact: true }).fill('user')
    await page.getByLabel('Value').fill('42')
    await page.getByLabel('Min duration').fill('20ms')
    await page.getByLabel('Status').selectOption('false')
    await page.getByRole('button', { name: 'Search', exact: true }).click()
    await arrived(page, /error=false/)
    await page.locator('.result').getByText('80.0 ms').waitFor()
    const query = new URL(page.url()).searchParams
    assert.deepEqual(
      ['name', 'key', 'value', 'min_duration', 'error'].map(name => query.get(name)),
      ['Cart.total', 'user', '42', '20ms', 'false'],
    )
    await page.reload()
    assert.equal(await page.getByLabel('Key', { exact: true }).inputValue(), 'user')
    await page.getByLabel('Min duration').fill('soon')
    await page.keyboard.press('Enter')
    await page.getByText('“soon” is not a duration').waitFor()
    await page.getByRole('link', { name: 'Search box' }).click()
    await page.locator('.result').getByText('80.0 ms').waitFor()
    assert.equal(
      await page.getByRole('combobox', { name: 'Search' }).inputValue(),
      'name:Cart.total user=42 duration>=20ms !error',
    )
  })

  it('looks a trace up by its id in any form, in the head of each page and in the box', async () => {
    const { page } = tests
    for (const id of [
      '112210F47DE98115',
      '1234567890123456789',
      `00-${'0'.repeat(16)}${SHOP_ID}-0000000000000002-01`,
    ]) {
      await page.goto('/')
      await page.getByLabel('Trace id').fill(id)
      await page.getByRole('button', { name: 'Look up' }).click()
      await page.getByRole('heading', { name: 'POST /checkout' }).waitFor()
      await rowsOf(page).nth(2).waitFor()
      await page.goto('/')
      await page.getByRole('combobox', { name: 'Search' }).fill(id)
      await page.getByRole('button', { name: 'Open trace' }).click()
      await page.getByRole('heading', { name: 'POST /checkout' }).waitFor()
    }
    await page.getByLabel('Trace id').fill('no such thing')
    await page.keyboard.press('Enter')
    await page.getByText('No trace id found').waitFor()
  })

  it('says what to do when there is no such trace, and when nothing matches', async () => {
    const { page } = tests
    tests.expected = /Failed to load resource.*(404|400)/
    await page.goto('/trace/00000000000000ff')
    await page.getByText('No such trace').waitFor()
    await page.goto('/trace/nonsense')
    await page.getByText('This is not a trace id').waitFor()
    await page.goto(q('name:Cart.total user=43'))
    await page.getByText('Nothing matches').waitFor()
    await page.getByRole('link', { name: 'Search without user=43' }).click()
    await arrived(page, q('name:Cart.total'))
    await page.locator('.result').getByText('80.0 ms').waitFor()
  })

  it('continues a search that paused before it had found anything', async () => {
    const { page } = tests
    await page.route(/\/api\/search/, async route => {
      if (route.request().url().includes('before='))
        await route.continue({
          url: route
            .request()
            .url()
            .replace(/&?before=[^&]*/, ''),
        })
      else await route.fulfill({ json: { traces: [], next: 'AAAA' } })
    })
    await page.goto(q('name:Cart.total'))
    await page.getByText('Nothing found so far').waitFor()
    await page.getByRole('link', { name: 'Continue searching' }).click()
    await page.locator('.result').getByText('80.0 ms').waitFor()
  })

  it('leads through older traces page by page, and back to the newest', async () => {
    const { page } = tests
    await send(
      Array.from({ length: 30 }, (_, i) =>
        server({
          traceId: BigInt(1000 + i),
          id: 1n,
          name: `Page.n${i}`,
          from: 2e6 + i * 1000,
          ms: 1 + i,
          annotations: new Map([['run', 'pages']]),
        }),
      ),
    )
    const names = () => page.locator('.result-name .name').allInnerTexts()
    await findResult(page, q('run=pages'), 'Page.n29')
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

  it('plots durations by time: a click opens a trace, and a drawn box narrows the search', async () => {
    const { page } = tests
    await page.goto(q('run=pages'))
    const plot = page.locator('.scatter .u-over')
    // The later, the longer: the right half holds the upper half.
    await drag(plot, [0.6, 0.02], [0.99, 0.98])
    await page.getByRole('link', { name: 'Search within the box' }).click()
    await arrived(page, /from%3A/)
    const text = await page.getByRole('combobox', { name: 'Search' }).inputValue()
    assert.match(text, /^run=pages duration>=\S+ duration<=\S+ from:\S+ to:\S+$/)
    await page.getByText('Page.n29').waitFor()
    const count = await page.locator('.result').count()
    assert.ok(count > 2 && count < 20, String(count))
    // The last point is at the right, at the top.
    await plot.waitFor()
    await drawn(page)
    const end = (await plot.boundingBox())!
    for (let x = end.width - 1; x > end.width * 0.5; x -= 3) {
      await page.mouse.move(end.x + x, end.y + end.height * 0.35)
      if ((await page.locator('.u-over.on-point').count()) > 0) break
    }
    const tip = await shown(page.locator('.plot-tip'))
    await page.mouse.down()
    await page.mouse.up()
    await arrived(page, /\/trace\//)
    const name = await page.getByRole('heading', { level: 1 }).textContent()
    assert.ok(name && tip.startsWith(name), `${tip} led to ${name}`)
  })

  it('saves a search under a name, runs, links, renames and deletes it, and begins with the default one', async () => {
    const { page } = tests
    await page.goto(q('name:Cart.total user=42'))
    await page.getByRole('button', { name: 'Save this search' }).click()
    await page.getByLabel('Name').fill(EVIL)
    await page.getByRole('button', { name: 'Save', exact: true }).click()
    await arrived(page, /saved=/)
    const link = page.url()
    await page.getByRole('heading', { name: EVIL }).waitFor()
    await page.locator('.result').getByText('80.0 ms').waitFor()

    await page.goto('/')
    const chip = () => page.getByRole('navigation', { name: 'Saved searches' }).getByRole('link')
    await chip().click()
    await arrived(page, link)
    await page.getByRole('button', { name: 'Manage' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByText('name:Cart.total user=42').waitFor()
    await dialog.getByRole('textbox').fill('Totals of 42')
    await dialog.getByRole('button', { name: 'Rename' }).click()
    await dialog.getByLabel('Name of Totals of 42').waitFor()
    await dialog.getByRole('button', { name: 'Make default' }).click()
    await dialog.getByRole('button', { name: '★ Default' }).waitFor()
    await dialog.getByRole('button', { name: 'Close' }).click()

    await page.goto('/')
    await page.getByRole('heading', { name: 'Totals of 42' }).waitFor()
    await page.locator('.result').getByText('80.0 ms').waitFor()
    await counts(page.locator('.result'), 1)

    // What is typed before the saved searches have come stays.
    let mayCome = () => {}
    const typed = new Promise<void>(resolve => {
      mayCome = resolve
    })
    await page.route('**/api/saved-searches', route => typed.then(() => route.continue()))
    await page.goto('/')
    await page.getByRole('combobox', { name: 'Search' }).fill('name:Mail')
    mayCome()
    await page.getByRole('heading', { name: 'Totals of 42' }).waitFor()
    assert.equal(await page.getByRole('combobox', { name: 'Search' }).inputValue(), 'name:Mail')
    await page.unroute('**/api/saved-searches')

    await page.goto('/search')
    await page.getByRole('heading', { name: 'Newest traces' }).waitFor()

    await page.getByRole('button', { name: 'Manage' }).click()
    await dialog.getByRole('button', { name: 'Delete' }).click()
    await dialog.getByLabel('Name of Totals of 42').waitFor({ state: 'detached' })
    await page.goto(link)
    await page.getByText('No such saved search').waitFor()
    await page.goto('/')
    await page.getByRole('heading', { name: 'Newest traces' }).waitFor()
  })

  it('takes a trace as a file: Zipkin’s by choosing it, OpenTelemetry’s by dropping it', async () => {
    const { page } = tests
    const start = START_US + 5e9
    const zipkin = [
      {
        traceId: '00000000000000aa',
        id: '1',
        name: 'get /from-zipkin',
        kind: 'SERVER',
        timestamp: start,
        duration: 5000,
        localEndpoint: { serviceName: 'zip' },
      },
    ]
    const otlp = {
      resourceSpans: [
        {
          resource: { attributes: [{ key: 'service.name', value: { stringValue: 'otel' } }] },
          scopeSpans: [
            {
              spans: [
                {
                  traceId: '000000000000000000000000000000bb',
                  spanId: '0000000000000001',
                  name: 'GET /from-otel',
                  kind: 2,
                  startTimeUnixNano: `${start}000`,
                  endTimeUnixNano: `${start + 7000}000`,
                },
              ],
            },
          ],
        },
      ],
    }
    await page.goto('/')
    await page.getByLabel('Trace file').setInputFiles({
      name: 'zipkin.json',
      mimeType: 'application/json',
      buffer: Buffer.from(JSON.stringify(zipkin)),
    })
    await arrived(page, /\/trace\/0*aa$/)
    await page.getByRole('heading', { name: 'get /from-zipkin' }).waitFor()

    await page.goto('/')
    await page.getByRole('button', { name: 'Upload a trace' }).waitFor()
    await page.evaluate(json => {
      const data = new DataTransfer()
      data.items.add(new File([json], 'otlp.json', { type: 'application/json' }))
      dispatchEvent(new DragEvent('dragover', { dataTransfer: data, bubbles: true, cancelable: true }))
      dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }))
    }, JSON.stringify(otlp))
    await arrived(page, /\/trace\/0*bb$/)
    await page.getByRole('heading', { name: 'GET /from-otel' }).waitFor()

    tests.expected = /Failed to load resource.*400/
    await page.goto('/')
    await page.locator('input[type=file]').setInputFiles({
      name: 'x.json',
      mimeType: 'application/json',
      buffer: Buffer.from('{"not":"a trace"}'),
    })
    await page.locator('.uploader [role=alert]').waitFor()
  })

  it('shows markup in names, keys, values and hosts as plain text', async () => {
    const { page } = tests
    const pairs = new Map([[EVIL, EVIL]])
    const events = [{ timestamp: BigInt(START_US), eventType: EventType.CUSTOM, value: EVIL }]
    const fields = { traceId: 66n, name: EVIL, service: EVIL, annotations: pairs, from: 1e6, ms: 1, events }
    await send([
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
    const result = await findResult(
      page,
      `/search?${new URLSearchParams({ name: EVIL, key: EVIL, value: EVIL })}`,
      EVIL,
    )
    assert.equal(await page.getByLabel('Name').inputValue(), EVIL)
    await result.click()
    await rowsOf(page).first().click()
    await detailOf(page).getByRole('heading', { name: 'Failed' }).waitFor()
    await detailOf(page).locator('.failure').getByText(EVIL, { exact: true }).waitFor()
    const said = await shown(page.locator('main'))
    // Name ×3 (page, row, panel), services ×3, error, key and value, the same of the conflict, event ×2, counter, hosts …
    assert.ok(said.split(EVIL).length - 1 >= 14, said)
    for (const [tab, content] of [
      ['Tree table', '.crumbs'],
      ['Call graph', '.graph-box svg'],
      ['Flame graph', '.flame-box'],
      ['Statistics', '.table'],
      ['JSON', '.json'],
    ] as const) {
      await page.getByRole('link', { name: tab }).click()
      await page.locator(content).first().waitFor()
      const injected = await page.locator('main img, main script, main [onerror], a[href^="javascript"]').count()
      assert.equal(injected, 0, tab)
    }
    await page.goto(`/search?${new URLSearchParams({ q: EVIL })}`)
    await page.locator('.notice, .result').first().waitFor()
    await page.goto(`/trace/0000000000000042?span=${encodeURIComponent(EVIL)}&find=${encodeURIComponent(EVIL)}`)
    await rowsOf(page).first().waitFor()
    tests.expected = /Failed to load resource.*400/
    await page.goto(`/trace/${encodeURIComponent(EVIL)}`)
    await page.getByText('This is not a trace id').waitFor()
    assert.equal(await page.locator('main img, main script, main [onerror]').count(), 0)
  })

  it('explains that the collector doesn’t answer', async () => {
    const { page } = tests
    await page.goto('/search')
    await page.locator('.result').first().waitFor()
    tests.expected = /ERR_FAILED|Failed to load resource/
    await page.route('**/api/**', route => route.abort())
    await page.keyboard.press('r')
    await page.getByText("didn't answer. Is it still running?").waitFor()
    await page.unroute('**/api/**')
    await page.getByRole('button', { name: 'Try again' }).click()
    await page.locator('.result').first().waitFor()
  })
})
