import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../helpers/child'
import { Program } from '../helpers/programs'
import { isListening } from '../servers/process'

const DEMO = join(ROOT, 'examples/demo.mjs')

describe('the demo', () => {
  // Its own deadline is 30 s.
  let demo: Program | undefined

  afterEach(async () => {
    await demo?.stop('SIGKILL')
  })

  async function end(): Promise<{ status: number | null; stdout: string; stderr: string }> {
    if (!demo!.ended) await once(demo!.child, 'close')
    return { status: demo!.child.exitCode, stdout: demo!.stdout, stderr: demo!.stderr }
  }

  it('exits with status 0 under --once, after a waterfall that names every service', async () => {
    demo = new Program(process.execPath, [DEMO, '--once'])
    const { status, stdout, stderr } = await end()
    assert.equal(status, 0, stdout + stderr)
    for (const call of [
      /GET \/checkout +front /,
      /Inventory\.check +front → inventory/,
      /Orders\.estimate +front → orders/,
      /Inventory\.reserve +front → inventory/,
      /Orders\.place +front → orders/,
      /Orders\.sendReceipt +front → orders/,
      /Pricing\.quote +inventory → pricing/,
      /Pricing\.quote +orders → pricing/,
    ]) {
      assert.match(stdout, call)
    }
    assert.match(stderr, /every half is there/)
    assert.doesNotMatch(stderr, /killed/)
    await assertGone(stderr)
  })

  it('says what is missing and exits with status 1 when calls carry no trace', async () => {
    demo = new Program(process.execPath, [DEMO, '--once'], {
      NODE_OPTIONS: `--require ${join(__dirname, 'no-propagation.cjs')}`,
    })
    const { status, stdout, stderr } = await end()
    assert.equal(status, 1, stdout + stderr)
    assert.match(stderr, /Orders\.place \(front → orders\): only the client half is there/)
    await assertGone(stderr)
  })

  it('runs until SIGINT, serves the trace and takes more requests meanwhile, and then stops everything', async () => {
    demo = new Program(process.execPath, [DEMO])
    const [, web, traceId] = await demo.printed(/This trace: +(http:\/\/127\.0\.0\.1:\d+)\/\S*?([0-9a-f]{16})\b/)
    const [, checkout] = await demo.printed(/One more: +curl '([^']+)'/)
    await demo.printed(/Ctrl-C/)
    const trace = (await (await fetch(`${web}/api/traces/${traceId}`)).json()) as { spans: unknown[] }
    assert.equal(trace.spans.length, 9)
    assert.equal((await fetch(checkout!)).status, 200)
    demo.child.kill('SIGINT')
    const { status, stderr } = await end()
    assert.equal(status, 0, stderr)
    await assertGone(stderr)
  })
})

/** Neither a listening port nor a file of those that the demo named is left. */
async function assertGone(stderr: string): Promise<void> {
  const said = stderr.replace(/^.* is busy; /gm, 'port ')
  const ports = [...said.matchAll(/(?:127\.0\.0\.1:|port )(\d+)/g)].map(match => Number(match[1]))
  assert.ok(ports.length >= 2, stderr)
  for (const port of ports) assert.equal(await isListening(port), false, `port ${port} still has a listener`)
  const folder = /spans in (\S+)/.exec(stderr)![1]!
  assert.equal(existsSync(folder), false)
}
