import { cpSync } from 'node:fs'
import { defineConfig } from 'tsup'

export default defineConfig([
  {
    // trace: for programs that draw what the API gives, as examples/demo.mjs does.
    entry: {
      main: 'src/main.ts',
      'embedded-worker': 'src/store/embedded/worker.ts',
      trace: 'src/trace/index.ts',
    },
    format: 'cjs',
    target: 'node20',
    platform: 'node',
    // The web interface is Vite's.
    clean: ['!ui'],
    removeNodeProtocol: false,
    // The migrations, where store/migrations.ts looks for them beside the bundle.
    onSuccess: async () => cpSync('../sql', 'dist/sql', { recursive: true }),
  },
])
