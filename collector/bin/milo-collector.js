#!/usr/bin/env node

// Until a program listens to SIGHUP, Node ends by it. A collector reloads on it, and one that is still loading has nothing
// to reload; commands such as import end when their terminal closes.
if (/^(run|-.*)?$/.test(process.argv[2] ?? '')) process.on('SIGHUP', () => {})

// Committed, unlike dist/: npm links no bin that isn't there at install time.
require('../dist/main.js')
