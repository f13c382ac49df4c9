import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { defineConfig, type Plugin } from 'vite'

/**
 * The web interface: ui/ into dist/ui, every file but index.html named by its content. Nothing becomes a data: address or
 * an inline script, which the collector's Content-Security-Policy forbids.
 */
export default defineConfig({
  // The page's base, which the collector says, may be anywhere.
  base: './',
  root: join(import.meta.dirname, 'ui'),
  plugins: [themeScript()],
  publicDir: false,
  // As in tsconfig.json, which the others read.
  resolve: { alias: { 'milo/codec': join(import.meta.dirname, '../src/codec') } },
  build: {
    outDir: join(import.meta.dirname, 'dist/ui'),
    emptyOutDir: true,
    target: 'es2022',
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'],
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // Graphviz is large, and loads when it is asked for.
    chunkSizeWarningLimit: 1600,
    reportCompressedSize: false,
  },
  worker: { format: 'es' },
})

/** The chosen theme has to be known before the first paint, and modules run after it: so one classic script blocks it. */
function themeScript(): Plugin {
  return {
    name: 'theme-script',
    apply: 'build',
    buildStart() {
      const source = readFileSync(join(import.meta.dirname, 'ui/shell/theme-start.js'), 'utf8')
      this.emitFile({ type: 'asset', name: 'theme.js', source })
    },
    transformIndexHtml: {
      order: 'post',
      handler(_html, { bundle }) {
        const asset = Object.values(bundle!).find(file => file.type === 'asset' && file.names.includes('theme.js'))
        return [{ tag: 'script', attrs: { src: `./${asset!.fileName}` }, injectTo: 'head-prepend' }]
      },
    },
  }
}
