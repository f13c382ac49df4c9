import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import ts from 'typescript'
import { ROOT } from '../helpers/child'

/** The source files that git knows or could, and their texts. */
function sources(...folders: string[]): [string, string][] {
  const list = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', ...folders], {
    cwd: ROOT,
  })
  return list
    .toString()
    .split('\n')
    .filter(name => /\.tsx?$/.test(name) && !name.endsWith('tsup.config.ts') && existsSync(join(ROOT, name)))
    .map(name => [name, readFileSync(join(ROOT, name), 'utf8')])
}

/** What the source files import, as [file, what it imports]; relative ones from the root. */
function imports(): [string, string][] {
  const result: [string, string][] = []
  for (const [file, text] of sources('src', 'plugins', 'collector')) {
    for (const match of text.matchAll(/(?:(?<!['"])\bfrom|\bimport|\brequire\(|\bimport\()\s*['"]([^'"]+)['"]/g)) {
      // The collector's name for the codec, as tsconfig.json has it.
      const target = match[1]!.replace(/^milo\/codec\//, 'src/codec/')
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

describe('a run of all tests', () => {
  it('has each file once: one that is named twice is run by two of mocha’s workers', () => {
    const { spec } = require('../mocharc.cjs') as { spec: string[] }
    const written = sources('test').map(([file]) => file)
    assert.deepEqual(
      spec.map(file => file.replaceAll('\\', '/')).sort(),
      written.filter(file => file.endsWith('.test.ts') && !file.startsWith('test/bench/')).sort(),
    )
  })
})

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

  it('src reaches plugins only through register, the bundle that holds everything, and the instrumentation for OpenTelemetry', () => {
    assert.deepEqual(
      broken(
        (file, target) =>
          file.startsWith('src/') &&
          target.startsWith('plugins') &&
          !['src/register.ts', 'src/bundle.ts', 'src/otel-instrumentation/index.ts'].includes(file),
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

  it('the web page takes from the collector only the pure code for traces and queries, and the types of its answers', () => {
    assert.deepEqual(
      broken(
        (file, target) =>
          file.startsWith('collector/ui/') &&
          target.startsWith('collector/src/') &&
          !/^collector\/src\/(trace\b|query\b|http\/answers$)/.test(target),
      ),
      [],
    )
  })

  it('the formats convert and nothing else: they know neither where spans come from nor where they go', () => {
    assert.deepEqual(
      broken(
        (file, target) =>
          file.startsWith('collector/src/formats/') &&
          /^collector\/src\/(?!formats\/|record\/(half|ids|seed)$)/.test(target),
      ),
      [],
    )
  })

  it('the pages share parts, and the parts know no page', () => {
    const page = /^collector\/ui\/(errors|find|services|trace)\b/
    assert.deepEqual(
      broken((file, target) => {
        const [from] = page.exec(file) ?? (file.startsWith('collector/ui/parts/') ? ['parts'] : [])
        const [to] = page.exec(target) ?? []
        return from !== undefined && to !== undefined && from !== to
      }),
      [],
    )
  })

  it('the answers are types alone', () => {
    const [[, text]] = sources('collector/src/http/answers.ts') as [[string, string]]
    const { statements } = ts.createSourceFile('answers.ts', text, ts.ScriptTarget.Latest)
    const isType = (node: ts.Statement) =>
      ts.isInterfaceDeclaration(node) ||
      ts.isTypeAliasDeclaration(node) ||
      (ts.isImportDeclaration(node) && node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword)
    assert.deepEqual(
      statements.filter(node => !isType(node)).map(node => text.slice(node.pos, node.end)),
      [],
    )
  })

  it('commands and the API know nothing of each other', () => {
    assert.deepEqual(
      broken((file, target) => {
        const ends = [file, target].join(' ')
        return /^collector\/src\/(commands\S* collector\/src\/api|api\S* collector\/src\/commands)\b/.test(ends)
      }),
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

/** The files that a source file imports, types included, as git names them. */
function graph(): Map<string, string[]> {
  const files = new Map(sources('src', 'plugins', 'collector').map(([file]) => [file, [] as string[]]))
  for (const [file, target] of imports()) {
    const path = target === 'milo/plugin' ? 'src/plugin' : target
    const found = ['', '.ts', '.tsx', '/index.ts'].map(end => path + end).find(name => files.has(name))
    if (found !== undefined) files.get(file)!.push(found)
  }
  return files
}

/** The same drawing with the collector's folders (`collector/src/store`) in the place of their files. */
function rooms(files: Map<string, string[]>): Map<string, string[]> {
  const roomOf = (file: string) => /^collector\/src\/[^/]+/.exec(file)?.[0] ?? file
  const drawing = new Map<string, string[]>()
  for (const [file, targets] of files) {
    const room = roomOf(file)
    const others = targets.map(roomOf).filter(other => other !== room)
    drawing.set(room, [...(drawing.get(room) ?? []), ...others])
  }
  return drawing
}

/** One circle of imports, from a file back to itself; undefined where there is none. */
function circle(files: Map<string, string[]>): string[] | undefined {
  const done = new Set<string>()
  const path: string[] = []
  const visit = (file: string): string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file]
    if (done.has(file)) return undefined
    path.push(file)
    for (const next of files.get(file) ?? []) {
      const found = visit(next)
      if (found !== undefined) return found
    }
    path.pop()
    done.add(file)
    return undefined
  }
  for (const file of files.keys()) {
    const found = visit(file)
    if (found !== undefined) return found
  }
  return undefined
}

describe('the drawing of imports', () => {
  it('has no circle', () => {
    assert.ok([...graph().values()].flat().length > 500)
    assert.equal(circle(graph())?.join(' → '), undefined)
  })

  it('has no circle of the collector’s rooms: of two folders, one is below the other', () => {
    assert.equal(circle(rooms(graph()))?.join(' → '), undefined)
  })

  it('shows a circle of rooms where no file is in one', () => {
    const drawing = new Map([
      ['collector/src/a/1.ts', ['collector/src/b/1.ts']],
      ['collector/src/b/1.ts', []],
      ['collector/src/b/2.ts', ['collector/src/a/1.ts']],
    ])
    assert.equal(circle(drawing), undefined)
    assert.deepEqual(circle(rooms(drawing)), ['collector/src/a', 'collector/src/b', 'collector/src/a'])
  })

  it('shows a circle where there is one', () => {
    const drawing = new Map([
      ['a', ['b']],
      ['b', ['c', 'd']],
      ['c', []],
      ['d', ['b']],
    ])
    assert.deepEqual(circle(drawing), ['b', 'd', 'b'])
  })
})

/** What fake clocks and environments replace: src/process/genuine.ts has them as they were when Milo was loaded. */
const REPLACED = new Set([
  ...['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'setImmediate', 'clearImmediate', 'queueMicrotask'],
  ...['Date', 'performance', 'Promise', 'console'],
  ...['process.nextTick', 'process.hrtime', 'Math.random'],
])

/** Values of REPLACED that a source file takes from the process at the time of a call. */
function takenFromProcess(file: string, text: string): string[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true)
  const imported = new Set<string>()
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isTypeNode(node)) return
    if (ts.isImportSpecifier(node)) imported.add(node.name.text)
    const name = ts.isPropertyAccessExpression(node) || ts.isIdentifier(node) ? node.getText(source) : ''
    const isMember = ts.isPropertyAccessExpression(node.parent) && node.parent.name === node
    if (REPLACED.has(name) && !imported.has(name) && !isMember && !ts.isExportSpecifier(node.parent)) {
      found.push(
        `${file}:${source.getLineAndCharacterOfPosition(node.getStart()).line + 1} takes ${name} from the process`,
      )
    }
    // A module of Node's whose exports fake clocks replace as well.
    if (ts.isStringLiteral(node) && /^(node:)?(timers|perf_hooks)/.test(node.text))
      found.push(`${file} takes ${node.text}`)
    ts.forEachChild(node, visit)
  }
  ts.forEachChild(source, visit)
  return found
}

describe('the clock', () => {
  it('is taken from src/process/genuine.ts alone, and so are timers and promises', () => {
    const files = sources('src', 'plugins').filter(([file]) => file !== 'src/process/genuine.ts')
    assert.deepEqual(
      files.flatMap(file => takenFromProcess(...file)),
      [],
    )
  })

  it('is seen wherever a file takes it', () => {
    const text = `import { queueMicrotask } from './genuine'
      const f = (): Promise<Date> => queueMicrotask(r => setTimeout(r, performance.now() + Date.now() - process.hrtime()[0]))
      export { setImmediate } from './genuine'
      timers.setTimeout(f)`
    assert.deepEqual(
      takenFromProcess('x.ts', text).map(line => line.split(' ')[2]),
      ['setTimeout', 'performance', 'Date', 'process.hrtime'],
    )
  })
})

describe('ids that come from strangers', () => {
  it('are hashed with a seed: a Map or Set by BigInts is an IdMap or IdSet', () => {
    // Numbers that the collector gives itself.
    const own = ['readonly accepting = new Set<bigint>()']
    const found = sources('collector').flatMap(([file, text]) =>
      (text.match(/^.*new (Map|Set|Recent)<bigint\b.*$/gm) ?? [])
        .filter(line => !file.endsWith('record/ids.ts') && !line.includes('new IdMap()'))
        .filter(line => !own.some(allowed => line.includes(allowed)))
        .map(line => `${file}: ${line.trim()}`),
    )
    assert.deepEqual(found, [])
  })
})
