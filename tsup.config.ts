import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { defineConfig, type Options } from 'tsup'

/** The package's entries in the bundle, and what of src/bundle.ts each of them is. */
const ENTRIES: Record<string, string> = {
  index: '{ ...bundle.index }',
  cls: '{ ...bundle.cls }',
  plugin: '{ ...bundle.plugin }',
  testing: '{ ...bundle.testing }',
  'plugins/thrift': '{ thrift: bundle.thrift }',
  'plugins/bluebird': '{ bluebird: bundle.bluebird }',
  'plugins/cassandra-driver': '{ cassandraDriver: bundle.cassandraDriver }',
  'plugins/generic-pool': '{ genericPool: bundle.genericPool }',
  'plugins/http': '{ http: bundle.http }',
  'plugins/express': '{ express: bundle.express }',
  'plugins/fastify': '{ fastify: bundle.fastify }',
  'plugins/ioredis': '{ ioredis: bundle.ioredis }',
  'plugins/koa': '{ koa: bundle.koa }',
  'plugins/mysql2': '{ mysql2: bundle.mysql2 }',
  'plugins/pg': '{ pg: bundle.pg }',
  'plugins/pino': '{ pino: bundle.pino }',
  'plugins/undici': '{ undici: bundle.undici }',
  'plugins/winston': '{ winston: bundle.winston }',
}

/** What both JavaScript files have in common. */
const javascript: Options = {
  // Every process that is traced reads it at its start; names stay, for stack traces.
  esbuildOptions: options => {
    options.minifyWhitespace = true
    // Node prints the line of what throws an uncaught error, as Milo does with the application's.
    options.lineLimit = 120
  },
  plugins: [
    {
      name: 'whole strings',
      // esbuild cuts strings at the limit too, by a backslash at the line's end. Rollup indents the next line: within the string.
      renderChunk: code => ({ code: code.replaceAll('\\\n', '') }),
    },
  ],
  format: 'cjs',
  target: 'node20',
  platform: 'node',
  removeNodeProtocol: false,
}

/** Imports what `filter` matches from another file of dist. `path` is given the folder of the file that imports it. */
const elsewhere = (filter: RegExp, path: (folder: string) => string): NonNullable<Options['esbuildPlugins']> => [
  {
    name: 'elsewhere',
    setup: build => build.onResolve({ filter }, ({ resolveDir }) => ({ path: path(resolveDir), external: true })),
  },
]

/**
 * Plugins of which only the list of patches is in the bundle, which every start reads: plugins/NAME/index.ts requires ./code when
 * the first patch is applied, and plugins/NAME/code.ts becomes dist/NAME-code.js. Each is a file of its own: what two of them import
 * from plugins/ is in both, and so it must have no state.
 */
const CODE = readdirSync('plugins').filter(name => existsSync(`plugins/${name}/code.ts`))

/**
 * Rooms of src that a start doesn't need: the bundle requires them when something first does, each from a file of its own in dist. Such a file
 * is a function that is given the bundle's modules (src/core.ts), so no state exists twice, whichever copy of the bundle it is; the rest is in it.
 */
const LATE: Record<string, string> = {
  'cls-code': './src/cls/code.ts',
  'export-http': './src/export/http/index.ts',
  keep: './src/keep/index.ts',
  seldom: './src/start/seldom.ts',
  spool: './src/export/spool-pump.ts',
  'testing-code': './src/testing.ts',
}

type Esbuild = Parameters<NonNullable<Options['esbuildPlugins']>[number]['setup']>[0]['esbuild']

const inSrc = (folder: string, path: string) => relative('.', join(folder, path)).replaceAll('\\', '/')

/** A `require` of a late file, in the bundle. */
const late: NonNullable<Options['esbuildPlugins']>[number] = {
  name: 'late',
  setup: build =>
    build.onResolve({ filter: /^\./ }, ({ kind, path, resolveDir }) => {
      if (kind !== 'require-call') return undefined
      const files = ['.ts', '/index.ts'].map(end => `./${inSrc(resolveDir, path)}${end}`)
      const name = Object.keys(LATE).find(name => files.includes(LATE[name]!))
      return name === undefined ? undefined : { path: `./${name}.js`, external: true }
    }),
}

/** The modules of the bundle that late files import: found once, before all builds. */
let taken: Promise<Set<string>> | undefined

async function findTaken(esbuild: Esbuild): Promise<Set<string>> {
  const options = { bundle: true, write: false, metafile: true, platform: 'node', outdir: 'dist' } as const
  const external = ['shimmer', './code', './esm']
  const { metafile } = await esbuild.build({ ...options, external, entryPoints: ['src/bundle.ts'], plugins: [late] })
  const found = new Set<string>()
  const plugins = [takes(file => file in metafile.inputs && found.add(file))]
  await esbuild.build({ ...options, external, entryPoints: LATE, plugins })
  return found
}

/** Has imports of the modules that `isTaken` says taken from the bundle. */
const takes = (isTaken: (file: string) => unknown): NonNullable<Options['esbuildPlugins']>[number] => ({
  name: 'takes',
  setup(build) {
    build.onResolve({ filter: /^\./ }, ({ kind, path, resolveDir }) => {
      const file = `${inSrc(resolveDir, path)}.ts`
      return kind === 'import-statement' && isTaken(file) ? { path: file, namespace: 'core' } : undefined
    })
    build.onLoad({ filter: /./, namespace: 'core' }, ({ path }) => ({
      contents: `module.exports = core['${path}']`,
    }))
  },
})

// tsup's own splitting of CommonJS would share the state as well, but rewrites every `?.` into a call with closures.
export default defineConfig([
  {
    ...javascript,
    entry: { bundle: 'src/bundle.ts' },
    plugins: [
      ...javascript.plugins!,
      {
        name: 'late',
        renderChunk: code => ({
          code: code.replace(/\brequire\("\.\/([\w-]+)\.js"\)/g, (call, name) =>
            name in LATE ? `${call}(core)` : call,
          ),
        }),
      },
    ],
    esbuildPlugins: [
      ...elsewhere(/^\.\/esm$/, () => './esm.js'),
      late,
      {
        name: 'core',
        setup: build =>
          build.onLoad({ filter: /[\\/]src[\\/]core\.ts$/ }, async () => {
            const files = [...(await (taken ??= findTaken(build.esbuild)))]
            const imports = files.map(
              (file, i) => `import * as m${i} from './${relative('src', file).replace(/\.ts$/, '')}'`,
            )
            return {
              contents: `${imports.join('\n')}\nexport const core = { ${files.map((file, i) => `'${file}': m${i}`)} }`,
            }
          }),
      },
      ...elsewhere(/^\.\/code$/, folder => `./${basename(folder)}-code.js`),
    ],
    onSuccess: async () => built(),
  },
  {
    ...javascript,
    entry: Object.fromEntries(CODE.map(name => [`${name}-code`, `plugins/${name}/code.ts`])),
    esbuildPlugins: elsewhere(/^milo\/plugin$/, () => './plugin.js'),
  },
  {
    ...javascript,
    entry: LATE,
    banner: {
      js: '"use strict"; let of, made; module.exports = (core => { if (of === core) return made; of = core; const module = { exports: {} };',
    },
    footer: { js: 'return made = module.exports })' },
    onSuccess: async () => built(),
    esbuildPlugins: [
      {
        name: 'late',
        async setup(build) {
          const files = await (taken ??= findTaken(build.esbuild))
          return takes(file => files.has(file)).setup(build)
        },
      },
    ],
  },
  {
    ...javascript,
    entry: { otel: 'src/otel/index.ts' },
    esbuildPlugins: elsewhere(/^\.\/core$/, () => './otel-core.js'),
  },
  {
    ...javascript,
    entry: { doctor: 'src/doctor/index.ts' },
    esbuildPlugins: elsewhere(/^\.\/core$/, () => './doctor-core.js'),
  },
  // They run in builds, or for ES modules, and so they aren't in the bundle.
  {
    ...javascript,
    entry: { bundler: 'src/bundler/index.ts', 'bundler-loader': 'src/bundler/loader.ts', esm: 'src/patch/esm.ts' },
    esbuildPlugins: elsewhere(/^\.\.\/bundle$/, () => './bundle.js'),
  },
  {
    ...javascript,
    entry: { 'otel-instrumentation': 'src/otel-instrumentation/index.ts' },
    // plugins/thrift a second time, on OpenTelemetry's API.
    esbuildPlugins: [
      {
        name: 'seam',
        setup: build =>
          build.onResolve({ filter: /^milo\/plugin$/ }, () => ({
            path: resolve('src/otel-instrumentation/plugin.ts'),
          })),
      },
    ],
  },
  {
    entry: {
      // Those of plugins are written by hand below.
      ...Object.fromEntries(['index', 'cls', 'plugin', 'testing'].map(name => [name, `src/${name}.ts`])),
      otel: 'src/otel/index.ts',
      bundler: 'src/bundler/index.ts',
      'otel-instrumentation': 'src/otel-instrumentation/index.ts',
    },
    dts: { only: true },
  },
])

/** The entries are written from what the bundle and its late files export. */
let unbuilt = 2

function built(): void {
  if (--unbuilt === 0) writeEntries()
}

function writeEntries(): void {
  const { milo: bundle } = createRequire(__filename)(resolve('dist/bundle.js'))
  for (const [name, exported] of Object.entries(ENTRIES)) {
    const up = name.includes('/') ? '../' : './'
    const names = Object.keys(new Function('bundle', `return ${exported}`)(bundle))
    const base = name.split('/').pop()
    write(`${name}.js`, `const bundle = require('${up}bundle.js').milo\nmodule.exports = ${exported}\n`)
    write(
      `${name}.mjs`,
      `import milo from './${base}.js'\nexport const { ${names.join(', ')} } = milo\nexport default milo\n`,
    )
    if (name.startsWith('plugins/')) {
      write(`${name}.d.ts`, `import type { Plugin } from '../plugin.js'\nexport declare const ${names}: Plugin\n`)
    }
    write(`${name}.d.mts`, typesOfModule(`./${base}.js`, true))
  }
  write('otel-core.js', `module.exports = require('./bundle.js').milo.otelCore\n`)
  write('otel.mjs', `import milo from './otel.js'\nexport const { register, unregister } = milo\nexport default milo\n`)
  write('otel/register.js', `require('../register.js')\nrequire('../otel.js').register()\n`)
  write('otel/register.mjs', `import './register.js'\n`)
  write('otel.d.mts', typesOfModule('./otel.js', true))
  writeTypesOfNothing('otel/register')
  write(
    'bundler.mjs',
    `import bundler from './bundler.js'\nexport const { esbuildPlugin, rollupPlugin, WebpackPlugin } = bundler\nexport default bundler\n`,
  )
  write('bundler.d.mts', typesOfModule('./bundler.js', true))
  const instrumentation = 'otel-instrumentation'
  write(
    `${instrumentation}.mjs`,
    `import milo from './${instrumentation}.js'\nexport const { ThriftInstrumentation, register } = milo\n`,
  )
  write(
    `${instrumentation}/register.js`,
    `let milo
try {
  milo = require('../${instrumentation}.js')
} catch (error) {
  if (error.code !== 'MODULE_NOT_FOUND') throw error
  console.error("milo error: milo/${instrumentation} doesn't find @opentelemetry/api, and Thrift isn't traced: install it beside milo")
}
milo?.register()
`,
  )
  write(`${instrumentation}/register.mjs`, `import './register.js'\n`)
  write('doctor-core.js', `module.exports = require('./bundle.js').milo.doctorCore\n`)
  write('register/doctor.js', `require('../doctor.js').examine()\n`)
  write('register/doctor.mjs', `import './doctor.js'\n`)
  writeTypesOfNothing('register/doctor')
  write(`${instrumentation}.d.mts`, typesOfModule(`./${instrumentation}.js`, false))
  writeTypesOfNothing(`${instrumentation}/register`)
  write('register.js', `require('./bundle.js').milo.register()\n`)
  write('register.mjs', `import './register.js'\n`)
  writeTypesOfNothing('register')
}

/** What a .d.mts says: the types of the .d.ts, so that classes and interfaces are the same ones however they are loaded. */
function typesOfModule(types: string, hasDefault: boolean): string {
  const all = `export * from '${types}'\n`
  return hasDefault ? `import * as milo from '${types}'\n${all}export default milo\n` : all
}

function writeTypesOfNothing(name: string): void {
  for (const ending of ['d.ts', 'd.mts']) write(`${name}.${ending}`, 'export {}\n')
}

function write(file: string, text: string): void {
  const path = resolve('dist', file)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
}
