import assert from 'node:assert/strict'
import { join } from 'node:path'
import { runNode } from '../helpers/child'
import { npmPackages } from '../servers/npm'

const APP = join(__dirname, '../fixtures/evernote-app.js')
const CERTIFICATES = join(__dirname, '../fixtures/tls')

const POST = (status: number, error = '') => [
  `"POST /edam/user" (client) http.response.status_code=${status}${error}`,
  `  "POST /edam/user" (server) http.response.status_code=${status}${error}`,
]

/** A caller's call, and its request. */
function called(caller: string, outcome: string, post = POST(200), method = 'checkVersion'): string[] {
  return [caller, `  UserStore.${method} (client) ${outcome}`, ...post.map(line => `    ${line}`)]
}

const TREE = [
  ...called('checked', 'thrift.result=ok'),
  ...called('declared', 'error.type=EDAMUserException thrift.result=exception', POST(200), 'getUser'),
  ...called('broken', 'error.type=TApplicationException thrift.result=application_exception'),
  ...called('refused', 'error.type=500 thrift.result=transport_error', POST(500, ' error.type=500')),
  ...[1, 2, 3].flatMap(i => called(`"side by side ${i}"`, 'thrift.result=ok')),
  ...called('gone', 'error.type=ECONNREFUSED thrift.result=transport_error', [
    '"POST /edam/user" (client) error.type=ECONNREFUSED',
  ]),
  ...called('unwritable', 'error.type=ERR_INVALID_ARG_TYPE thrift.result=not_sent', []),
].join('\n')

describe('Evernote’s SDK', () => {
  for (const version of ['2.0.2', '2.0.5']) {
    it(`${version}: its calls are traced, and nothing else is changed`, async () => {
      const folder = await npmPackages(`evernote@${version}`)
      const app = [APP, folder, CERTIFICATES, `${TREE.split('\n').length}`]
      const env = { NODE_EXTRA_CA_CERTS: join(CERTIFICATES, 'first.pem') }
      const plain = await runNode(['--no-deprecation', ...app], env)
      const traced = await runNode(['--no-deprecation', '-r', 'milo/register', ...app], {
        ...env,
        MILO_SCRIBE: '127.0.0.1:1',
      })
      assert.deepEqual([traced.status, traced.stderr], [0, plain.stderr])
      const { told, tree } = JSON.parse(traced.stdout)
      assert.deepEqual({ told }, JSON.parse(plain.stdout))
      assert.equal(tree, TREE)
    })
  }
})
