import assert from 'node:assert/strict'
import { join } from 'node:path'
import { ROOT, runNode } from '../helpers/child'
import { nodeOfVersion } from '../servers'
import { npmPackages } from '../servers/npm'

const APP = join(__dirname, '../fixtures/undici-app.js')

/** What fetch does, under either name: a span for each request that is sent. */
const FETCH_TREE = `
"NAME: json"
  "GET /users/*" (client) http.response.status_code=200
"NAME: post"
  "POST /post" (client) http.response.status_code=200
"NAME: redirect"
  "GET /redirect" (client) http.response.status_code=302
  "GET /there" (client) http.response.status_code=200
"NAME: missing"
  "GET /missing" (client) http.response.status_code=404 error.type=404
"NAME: refused"
  "GET /refused" (client) error.type=ECONNREFUSED
"NAME: no url"
"NAME: cut"
  "GET /cut" (client) http.response.status_code=200 error.type=UND_ERR_SOCKET
"NAME: aborted"
  "GET /never" (client) error.type=AbortError
"NAME: unread"
  "GET /large" (client) http.response.status_code=200`

const TREE = `
opens
  "GET /opens" (client) http.response.status_code=200
  "GET /opens" (client) http.response.status_code=200
${FETCH_TREE.slice(1).replaceAll('NAME', 'fetch')}
${FETCH_TREE.slice(1).replaceAll('NAME', 'undici.fetch')}
"request: events"
  "GET /events" (client) http.response.status_code=200
"request: callback"
  "GET /callback" (client) http.response.status_code=200
"request: unread"
  "GET /large" (client) http.response.status_code=200
stream
  "GET /stream" (client) http.response.status_code=200
pipeline
  "PUT /pipeline" (client) http.response.status_code=200
upgrade
  "GET /upgrade" (client) http.response.status_code=101
connect
  "CONNECT /" (client) http.response.status_code=200
"pool: first"
  "GET /pool/a" (client) http.response.status_code=200
"pool: second"
  "GET /pool/b" (client) http.response.status_code=200
"pool: third"
  "GET /pool/c" (client) http.response.status_code=200
"dispatch: one"
  "GET /dispatch" (client) http.response.status_code=200
"dispatch: other"
  "GET /dispatch" (client) http.response.status_code=200
redirects
  "GET /redirect/twice" (client) http.response.status_code=302
  "GET /there/twice" (client) http.response.status_code=200
retries
  "GET /flaky" (client) http.response.status_code=503 error.type=503
  "GET /flaky" (client) http.response.status_code=200
"by a proxy"
  "GET /proxied" (client) http.response.status_code=200
  "CONNECT /" (client) http.response.status_code=200
mocked
"own traceparent"
  "GET /own" (client) http.response.status_code=200
"own traceparent"
  "GET /own" (client) http.response.status_code=200`.slice(1)

const OK = { ok: true }
const seenByFetch = (name: string) => ({
  [`${name}: json`]: OK,
  [`${name}: post`]: OK,
  [`${name}: redirect`]: OK,
  [`${name}: missing`]: 404,
  [`${name}: refused`]: 'ECONNREFUSED',
  [`${name}: no url`]: 'TypeError: ERR_INVALID_URL',
  [`${name}: cut`]: 'TypeError: UND_ERR_SOCKET',
  [`${name}: aborted`]: 'AbortError: 20',
  [`${name}: unread`]: 200,
  [`${name}: over`]: 'GET /large',
})

/** What the application sees: its answers and errors, and in callbacks the span in which it made the request. */
const SEEN: Record<string, unknown> = {
  opens: null,
  ...seenByFetch('fetch'),
  ...seenByFetch('undici.fetch'),
  'request: events': ['request: events'],
  'request: callback': 'request: callback',
  'request: over': 'GET /large',
  'request: unread': null,
  stream: ['stream'],
  pipeline: 'pipeline',
  upgrade: null,
  connect: 200,
  'pool: first': ['pool: first'],
  'pool: second': ['pool: second'],
  'pool: third': ['pool: third'],
  'dispatch: one': 'dispatch: one',
  'dispatch: other': 'dispatch: other',
  redirects: OK,
  retries: OK,
  'by a proxy': OK,
  mocked: 'mock',
  'own traceparent': null,
}

describe('the undici plugin', () => {
  for (const { version, node } of [
    { version: '5.12.0', node: undefined },
    { version: '6.27.0', node: undefined },
    { version: '7.30.2', node: undefined },
    { version: '8.13.1', node: '24' as const },
    { version: '8.13.1', node: '26' as const },
  ]) {
    it(`traces all that undici ${version} and ${node === undefined ? 'this Node' : `Node ${node}`} do, in the context of whoever asked for it`, async function () {
      this.timeout(300_000)
      const folder = await npmPackages(`undici@${version}`)
      const program = node === undefined ? process.execPath : await nodeOfVersion(node)
      const args = ['-r', 'milo/register', '--no-warnings', APP, folder]
      const { status, stdout, stderr } = await runNode(args, { MILO_PLUGINS: 'undici' }, ROOT, program)
      assert.deepEqual([status, stderr], [0, ''])
      const { seen, tree } = JSON.parse(stdout)
      const expectedSeen = { ...SEEN }
      let expectedTree = TREE
      // Where a body is read ahead, or its stream isn't to be seen: that of Node 24's fetch by way of the global agent of undici 8.
      const unseen = version === '5.12.0' ? 'undici.fetch' : node === '24' ? 'fetch' : undefined
      if (unseen !== undefined) {
        expectedSeen[`${unseen}: over`] = `${unseen}: aborted`
        expectedTree = expectedTree.replace(new RegExp(`("${unseen}: unread"\n.*)`), '$1 error.type=AbortError')
      }
      if (version === '5.12.0') {
        // It knows no retries.
        delete expectedSeen.retries
        expectedTree = expectedTree.replace(/retries\n.*\n.*\n/, '')
      }
      assert.deepEqual(seen, expectedSeen)
      assert.equal(tree, expectedTree)
    })
  }
})
