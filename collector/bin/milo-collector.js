#!/usr/bin/env node

// Committed, unlike dist/: npm links no bin that isn't there at install time.
require('../dist/main.js')
