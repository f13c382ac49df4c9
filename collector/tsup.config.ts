import { cpSync } from 'node:fs'
import { defineConfig } from 'tsup'

export default defineConfig([
  {
    // trace: for programs that draw what the API gives, as examples/demo.mjs does.
    entry: { main: 'src/main.ts', trace: 'src/trace/index.ts' },
    format: 'cjs',
    target: 'node20',
    platform: 'node',
    // The two builds run at once: each clears its own folder.
    clean: ['!ui'],
    removeNodeProtocol: false,
    // The migrations, where store/migrations.ts looks for them beside the bundle.
    onSuccess: async () => cpSync('../sql', 'dist/sql', { recursive: true }),
  },
  {
    entry: { app: 'ui/app.tsx' },
    outDir: 'dist/ui',
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
    noExternal: [/.*/],
    minify: true,
    publicDir: 'ui/public',
    outExtension: () => ({ js: '.js' }),
    clean: true,
  },
])
