/**
 * `milo/bundler`: plugins for esbuild, webpack and Rollup (Vite and Rolldown take Rollup's). What is within a bundle is no
 * file that Node loads, so Milo can't see it. With the plugin, modules that Milo's plugins patch, and code generated for
 * Thrift, show themselves to the Milo that was loaded before them.
 */

import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { milo } from '../bundle'
import type { Plugin } from '../patch/plugin'
import { instrumentFor } from '../patch/source'

export interface BundlerOptions {
  /** Plugins of your own that `init` will be given, besides Milo's. */
  plugins?: Plugin[]
}

const CODE = /\.[cm]?[jt]sx?$/

function instrument({ plugins = [] }: BundlerOptions, root: string) {
  const own = Object.values(milo).filter((value): value is Plugin => Array.isArray((value as Partial<Plugin>).patches))
  return instrumentFor([...own, ...plugins], root)
}

/** For esbuild: `plugins: [esbuildPlugin()]`. */
export function esbuildPlugin(options: BundlerOptions = {}) {
  return {
    name: 'milo',
    setup(build: {
      initialOptions: { absWorkingDir?: string }
      onLoad(
        filter: { filter: RegExp; namespace: string },
        load: (args: {
          path: string
        }) => Promise<{ contents: string; loader: 'default'; watchFiles: string[] } | undefined>,
      ): void
    }): void {
      const look = instrument(options, build.initialOptions.absWorkingDir ?? process.cwd())
      build.onLoad({ filter: CODE, namespace: 'file' }, async ({ path }) => {
        const contents = look(await readFile(path, 'utf8'), path)
        return contents === undefined ? undefined : { contents, loader: 'default', watchFiles: [path] }
      })
    },
  }
}

/** For Rollup, and for Vite and Rolldown: `plugins: [rollupPlugin(), …]`. */
export function rollupPlugin(options: BundlerOptions = {}) {
  const look = instrument(options, process.cwd())
  return {
    name: 'milo',
    transform: {
      // Before @rollup/plugin-commonjs makes an ES module of it.
      order: 'pre' as const,
      handler(code: string, id: string): { code: string; map: null } | undefined {
        const file = id.replace(/\?.*$/, '')
        const made = id.includes('\0') || !CODE.test(file) ? undefined : look(code, file)
        return made === undefined ? undefined : { code: made, map: null }
      },
    },
  }
}

/** For webpack: `plugins: [new WebpackPlugin()]`. */
export class WebpackPlugin {
  private readonly options: BundlerOptions

  constructor(options: BundlerOptions = {}) {
    this.options = options
  }

  apply(compiler: { context: string; options: { module: { rules: unknown[] } } }): void {
    const look = instrument(this.options, compiler.context)
    const loader = resolve(__dirname, 'bundler-loader.js')
    // After other loaders, which may take what is added to TypeScript for an error.
    compiler.options.module.rules.push({
      test: CODE,
      enforce: 'post',
      use: [{ loader, ident: 'milo', options: { look } }],
    })
  }
}
