import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { finished, ROOT } from '../helpers/child'
import { ScribePeer } from '../helpers/scribe-peer'

/** One request to itself. */
const APP = `const http = require('node:http')
const server = http.createServer((request, response) => response.end()).listen(0, '127.0.0.1', () =>
  http.get({ ...server.address(), agent: false }, response => response.resume().on('end', () => server.close())))`

describe('launchers, with Milo in NODE_OPTIONS', () => {
  let folder: string
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'milo-launchers-'))
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
    const scripts = { start: 'node app.js', nested: 'npm start --silent' }
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'launched', scripts }))
    writeFileSync(join(folder, 'app.js'), APP)
    writeFileSync(join(folder, 'app.ts'), APP)
  })
  after(() => rmSync(folder, { recursive: true }))

  // No test for pm2, forever and nodemon: each brings hundreds of packages. What Milo reads of them is in service.test.ts.
  for (const command of ['npm start --silent', 'npm run nested --silent', 'npx --no tsx app.ts']) {
    it(`${command}: the spans are the application’s, and so is the name`, async () => {
      const scribe = await ScribePeer.listen()
      const [program, ...args] = command.split(' ') as [string, ...string[]]
      const PATH = dirname(process.execPath) + delimiter + process.env.PATH
      const NODE_OPTIONS = `-r ${join(ROOT, 'dist/register.js')}`
      const env = { ...process.env, PATH, NODE_OPTIONS, MILO_SCRIBE: scribe.address, MILO_SAMPLER: 'always' }
      const { status, stderr } = await finished(spawn(program, args, { cwd: folder, env, stdio: 'pipe' }))
      await scribe.close()
      assert.equal(status, 0, stderr)
      assert.deepEqual(
        scribe.spans.map(({ service, name }) => [service, name]),
        [
          ['launched', 'GET /'],
          ['launched', 'GET /'],
        ],
      )
    })
  }
})
