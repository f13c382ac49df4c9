import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { readSettings } from '../../../src/start/options'
import { isLauncher } from '../../../src/start/service'

describe("a service's default name", () => {
  let root: string
  const FILES = {
    'shop/package.json': '{"name":"shop"}',
    'shop/server.js': '',
    'shop/tool/package.json': '{"type":"module"}',
    'shop/tool/run.mts': '',
    'shop/services/a/package.json': '{"name":"@shop/a"}',
    'shop/services/a/app.ts': '',
    'shop/services/start/package.json': '{"name":"start"}',
    'shop/node_modules/ts-node/package.json': '{"name":"ts-node"}',
    'shop/node_modules/ts-node/dist/bin.js': '',
    'shop/node_modules/setup/package.json': '{"name":"setup"}',
    'shop/node_modules/setup/register.js': '',
    'shop/setup.js': '',
    'global/lib/node_modules/pm2/package.json': '{"name":"pm2"}',
    'global/lib/node_modules/pm2/lib/ProcessContainerFork.js': '',
    'opt/yarn-v1.22.22/package.json': '{"name":"yarn"}',
    'opt/yarn-v1.22.22/bin/yarn.js': '',
    'global/lib/node_modules/npm/bin/npm-cli.js': '',
    'global/lib/node_modules/npm/node_modules/tool/run.js': '',
    'global/lib/node_modules/pm2/lib/Daemon.js': '',
    'yarn/node_modules/mocha/bin.js': '',
    'docker/app/index.js': '',
    'bare/worker.mjs': '',
    'bare/job.ts': '',
    'bare/old.cts': '',
    'broken/package.json': '{"name":',
    'broken/reader.js': '',
    'long/package.json': JSON.stringify({ name: 'l'.repeat(300) }),
  }

  before(() => {
    root = realpathSync(mkdtempSync(join(tmpdir(), 'milo-service-')))
    for (const [path, text] of Object.entries(FILES)) {
      mkdirSync(dirname(join(root, path)), { recursive: true })
      writeFileSync(join(root, path), text)
    }
    mkdirSync(join(root, 'global/bin'))
    symlinkSync('../lib/node_modules/pm2/lib/ProcessContainerFork.js', join(root, 'global/bin/launcher'))
    symlinkSync('../services/a', join(root, 'shop/node_modules/a'))
    symlinkSync('loop', join(root, 'bare/loop'))
  })

  after(() => rmSync(root, { recursive: true, force: true }))

  /** Arguments that begin with `~/` are below the folder of the test; `in` is the current folder. */
  interface Case {
    in?: string
    argv: string[]
    execArgv?: string[]
    env?: Record<string, string>
  }

  function nameOf({ in: folder = 'bare', argv, execArgv = [], env = {} }: Case): string {
    const place = (text: string) => text.replaceAll('~/', `${root}/`)
    const before = { argv: process.argv, execArgv: process.execArgv, folder: process.cwd() }
    process.chdir(join(root, folder))
    process.argv = [process.execPath, ...argv.map(place)]
    process.execArgv = execArgv
    try {
      return readSettings({}, Object.fromEntries(Object.entries(env).map(([name, value]) => [name, place(value)])))
        .service
    } finally {
      process.chdir(before.folder)
      process.argv = before.argv
      process.execArgv = before.execArgv
    }
  }

  const TS_NODE = '~/shop/node_modules/ts-node/dist/bin.js'
  const PM2 = '~/global/lib/node_modules/pm2/lib/ProcessContainerFork.js'
  const LINK = '~/global/bin/launcher'
  const cases: [string, string, Case][] = [
    ['a file in a package', 'shop', { argv: ['~/shop/server.js'] }],
    ['a file without its extension', 'shop', { argv: ['~/shop/server'] }],
    ['the current folder', 'shop', { in: 'shop', argv: ['~/shop'] }],
    ['a package of a workspace, by its link', '@shop/a', { argv: ['~/shop/node_modules/a/app.ts'] }],
    ['a file below a package.json without a name', 'shop', { argv: ['~/shop/tool/run.mts'] }],
    ['an .mjs file without a package', 'worker', { argv: ['~/bare/worker.mjs'] }],
    ['a .ts file without a package', 'job', { argv: ['~/bare/job.ts'] }],
    ['a .cts file without a package', 'old', { argv: ['~/bare/old.cts'] }],
    ['a file below a package.json that is broken', 'reader', { argv: ['~/broken/reader.js'] }],
    ['an index.js without a package', 'app', { argv: ['~/docker/app/index.js'] }],
    ['a package whose name is too long', 'l'.repeat(256), { argv: ['~/long'] }],

    ['a launcher alone', 'shop', { in: 'shop', argv: [TS_NODE] }],
    ['a global launcher, by its link', 'shop', { in: 'shop', argv: [LINK] }],
    ["yarn's own program", 'shop', { in: 'shop', argv: ['~/opt/yarn-v1.22.22/bin/yarn.js', 'start'] }],
    ['a launcher with a file', '@shop/a', { in: 'shop', argv: [TS_NODE, 'services/a/app.ts', '~/shop/server.js'] }],
    ['a global launcher with a file', '@shop/a', { argv: [LINK, '--files', '~/shop/services/a/app.ts'] }],
    ['a launcher with a file without a package', 'job', { argv: [LINK, 'job.ts'] }],
    ['a launcher with a package', '@shop/a', { in: 'shop', argv: [LINK, 'dev', './services/a'] }],
    [
      'a launcher with files to load first',
      '@shop/a',
      { in: 'shop', argv: [LINK, '-r', './setup.js', 'node_modules/setup/register.js', 'services/a/app.ts'] },
    ],
    ['a launcher with a command', 'shop', { in: 'shop', argv: [LINK, 'start', '--out', '/tmp', '\0', 'loop'] }],
    ['a launcher outside of packages', 'node', { argv: [LINK, 'loop'] }],
    ["a launcher outside of packages, by npm's word", 'shop', { argv: [LINK], env: { npm_package_name: 'shop' } }],
    [
      "a file whatever npm's word",
      '@shop/a',
      { argv: ['~/shop/services/a/app.ts'], env: { npm_package_name: 'shop' } },
    ],

    ['node -e', 'shop', { in: 'shop', argv: [], execArgv: ['-e', '1'] }],
    ['node -e with an argument', 'shop', { in: 'shop', argv: ['~/bare/job.ts'], execArgv: ['-e', '1'] }],
    ['node --eval= with an argument', 'node', { argv: ['foo'], execArgv: ['--eval=1'] }],
    ['a worker of a text', 'shop', { in: 'shop', argv: ['[worker eval]'] }],
    ['standard input', 'shop', { in: 'shop', argv: ['-'] }],

    ["pm2's file", 'shop', { argv: [PM2], env: { pm_exec_path: '~/shop/server.js', name: 'server' } }],
    [
      "pm2's file, called after itself",
      'shop',
      { argv: [PM2], env: { pm_exec_path: '~/shop/server.js', name: 'server.js' } },
    ],
    ["pm2's name", 'shop-eu', { argv: [PM2], env: { pm_exec_path: '~/shop/server.js', name: 'shop-eu' } }],
    [
      "pm2's name in cluster mode",
      'shop-eu',
      { argv: [PM2], env: { pm2_env: '{"name":"shop-eu","pm_exec_path":"~/shop/server.js"}' } },
    ],
    [
      "pm2's file in cluster mode",
      'shop',
      { argv: [PM2], env: { pm2_env: '{"name":"server","pm_exec_path":"~/shop/server.js"}' } },
    ],
    [
      'a command that pm2 was given',
      'shop',
      { argv: ['~/shop/server.js'], env: { pm_exec_path: '/bin/bash', name: 'node server' } },
    ],
    ['pm2 with variables that are broken', 'shop', { in: 'shop', argv: [PM2], env: { pm2_env: '{' } }],
    [
      'pm2 with a launcher',
      '@shop/a',
      { argv: [PM2, '~/shop/services/a/app.ts'], env: { pm_exec_path: TS_NODE, name: 'bin' } },
    ],
    ['a name that is no word of pm2', 'shop', { argv: ['~/shop/server.js'], env: { name: 'me' } }],
    [
      'a process that an application of pm2 starts',
      '@shop/a',
      { argv: ['~/shop/services/a/app.ts'], env: { pm_exec_path: '~/shop/server.js', name: 'server' } },
    ],
  ]
  for (const [title, expected, given] of cases) {
    it(`is ${expected.slice(0, 20)} for ${title}`, () => assert.equal(nameOf(given), expected))
  }

  it('is asked of no launcher’s own process, which only starts the application', () => {
    const launches = (path: string) => isLauncher({ argv: [process.execPath, join(root, path)] })
    for (const path of ['npm/bin/npm-cli.js', 'pm2/lib/Daemon.js'])
      assert.ok(launches(`global/lib/node_modules/${path}`))
    assert.ok(launches('opt/yarn-v1.22.22/bin/yarn.js'))
    const applications = [
      'global/lib/node_modules/pm2/lib/ProcessContainerFork.js',
      'shop/node_modules/ts-node/dist/bin.js',
    ]
    const others = [
      'global/lib/node_modules/npm/node_modules/tool/run.js',
      'yarn/node_modules/mocha/bin.js',
      'shop/server.js',
      'none',
    ]
    for (const path of [...applications, ...others]) assert.ok(!launches(path), path)
  })

  it('is found also where the current folder has been removed, and a spool there is refused by name', () => {
    const gone = join(root, 'gone')
    mkdirSync(gone)
    const { argv } = process
    const folder = process.cwd()
    process.chdir(gone)
    rmSync(gone, { recursive: true })
    try {
      process.argv = [process.execPath, join(root, 'global/bin/launcher'), 'app.ts']
      assert.equal(readSettings({}, {}).service, 'node')
      assert.equal(readSettings({}, { npm_package_name: 'shop' }).service, 'shop')
      process.argv = [process.execPath, join(root, 'shop/server.js')]
      assert.equal(readSettings({}, {}).service, 'shop')
      assert.throws(() => readSettings({}, { MILO_SPOOL: 'spool' }), {
        code: 'MILO_BAD_SPOOL',
        message: /absolute path/,
      })
      assert.equal(readSettings({}, { MILO_SPOOL: root }).spool?.directory, root)
    } finally {
      process.argv = argv
      process.chdir(folder)
    }
  })
})
