import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { defineConfig } from 'tsup'

/*
 * One CommonJS build, in which all entries share their chunks, and thin .mjs files that re-export it: so that `milo`,
 * `milo/register`, `milo/cls` and the plugins are one copy of their state, whichever way each is loaded.
 */
const entry = {
  index: 'src/index.ts',
  register: 'src/register.ts',
  cls: 'src/cls.ts',
  plugin: 'src/plugin.ts',
  'plugins/thrift': 'plugins/thrift/index.ts',
  'plugins/http': 'plugins/http.ts',
}

export default defineConfig({
  entry,
  format: 'cjs',
  target: 'node20',
  platform: 'node',
  splitting: true,
  clean: true,
  dts: true,
  removeNodeProtocol: false,
  onSuccess: async () => {
    for (const name of Object.keys(entry)) writeEsmEntry(name)
  },
})

function writeEsmEntry(name: string): void {
  const file = resolve('dist', `${name}.js`)
  const base = `./${name.split('/').pop()}.js`
  const types = base.replace(/\.js$/, '')
  // register does its work when loaded: its exports are found by its source, not by running it here.
  const names =
    name === 'register'
      ? []
      : Object.keys(createRequire(__filename)(file)).filter(key => /^[A-Za-z_$][\w$]*$/.test(key) && key !== 'default')
  const exports = names.map(key => `export const ${key} = milo.${key}\n`).join('')
  writeFileSync(file.replace(/\.js$/, '.mjs'), `import milo from '${base}'\n${exports}export default milo\n`)
  writeFileSync(file.replace(/\.js$/, '.d.mts'), `export * from '${types}.js'\nexport { default } from '${types}.js'\n`)
}
