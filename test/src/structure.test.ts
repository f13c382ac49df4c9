import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { ROOT } from '../helpers/child'

/** Imports of the source files that git knows or could, as [file, what it imports]; relative ones from the root. */
function imports(): [string, string][] {
  const list = execFileSync(
    'git',
    ['ls-files', '--cached', '--others', '--exclude-standard', 'src', 'plugins', 'collector'],
    { cwd: ROOT },
  )
  const result: [string, string][] = []
  for (const file of list
    .toString()
    .split('\n')
    .filter(name => /\.tsx?$/.test(name) && !name.endsWith('tsup.config.ts'))) {
    const text = readFileSync(join(ROOT, file), 'utf8')
    for (const match of text.matchAll(/(?:(?<!['"])\bfrom|\bimport|\brequire\(|\bimport\()\s*['"]([^'"]+)['"]/g)) {
      const target = match[1]!
      result.push([file, target.startsWith('.') ? normalize(join(dirname(file), target)) : target])
    }
  }
  return result
}

function broken(rule: (file: string, target: string) => boolean): string[] {
  return imports()
    .filter(([file, target]) => rule(file, target))
    .map(([file, target]) => `${file} imports ${target}`)
}

describe('the direction of imports', () => {
  it('sees the imports', () => assert.ok(imports().length > 50))

  it('plugins know Milo by milo/plugin alone', () => {
    assert.deepEqual(
      broken(
        (file, target) =>
          file.startsWith('plugins/') &&
          (target.startsWith('src') || (/^milo/.test(target) && target !== 'milo/plugin')),
      ),
      [],
    )
  })

  it('src reaches plugins only through register, and the bundle that holds everything', () => {
    assert.deepEqual(
      broken(
        (file, target) =>
          file.startsWith('src/') &&
          target.startsWith('plugins') &&
          !['src/register.ts', 'src/bundle.ts'].includes(file),
      ),
      [],
    )
  })

  it('the SDK knows nothing of the collector, and does not load thrift', () => {
    assert.deepEqual(
      broken((file, target) => /^(src|plugins)\//.test(file) && (/^collector/.test(target) || target === 'thrift')),
      [],
    )
  })

  it('the collector takes the codec from the SDK, and nothing else', () => {
    assert.deepEqual(
      broken(
        (file, target) =>
          file.startsWith('collector/') && (/^src\/(?!codec\/)/.test(target) || /^(plugins|milo)\b/.test(target)),
      ),
      [],
    )
  })

  it('the web page takes from the collector only the pure code for traces and queries', () => {
    assert.deepEqual(
      broken(
        (file, target) =>
          file.startsWith('collector/ui/') &&
          target.startsWith('collector/src/') &&
          !/^collector\/src\/(trace|query)\b/.test(target),
      ),
      [],
    )
  })

  it('the trace code is pure: no Node module, no package', () => {
    assert.deepEqual(
      broken(
        (file, target) =>
          file.startsWith('collector/src/trace/') && !/^(collector\/src\/trace|src\/codec)/.test(target),
      ),
      [],
    )
  })

  it('the query language knows nothing but itself', () => {
    assert.deepEqual(
      broken((file, target) => file.startsWith('collector/src/query/') && !target.startsWith('collector/src/query')),
      [],
    )
  })
})
