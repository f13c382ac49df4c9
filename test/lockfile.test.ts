import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './helpers/child'

interface Locked {
  optionalDependencies?: Record<string, string>
  resolved?: string
}

describe('package-lock.json', () => {
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, Locked>
  }

  // npm leaves those out that its registry doesn't have when the file is written, and then `npm ci` refuses the file.
  it('holds the optional packages of every platform', () => {
    for (const [path, { optionalDependencies = {} }] of Object.entries(packages)) {
      for (const name of Object.keys(optionalDependencies)) {
        const held = packages[`${path}/node_modules/${name}`] ?? packages[`node_modules/${name}`]
        assert.ok(held, `${path} wants ${name}: add its entry, with version, os and cpu`)
      }
    }
  })

  it('names no registry', () => {
    for (const [path, { resolved = '' }] of Object.entries(packages)) assert.doesNotMatch(resolved, /^https?:/, path)
  })
})
