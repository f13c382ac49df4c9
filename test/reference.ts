import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { ROOT } from './helpers/child'

/** docs/reference.md, from the declarations and docstrings of what is built: `npm run reference` writes it. */
const PATH = join(ROOT, 'docs/reference.md')
const ENTRIES = ['index', 'testing', 'cls', 'plugin', 'otel', 'otel-instrumentation', 'bundler']
const HEAD = `# Reference

Every export of the package, as its docstrings describe it. \`npm run reference\` writes this page; [api.md](api.md) explains the API by examples.
`

export function reference(): string {
  const file = (entry: string) => join(ROOT, `dist/${entry}.d.ts`)
  const program = ts.createProgram(ENTRIES.map(file), { types: [], noLib: true })
  const checker = program.getTypeChecker()
  /** Where a declaration is described: types of milo are exported by other entries too. */
  const described = new Map<ts.Declaration, string>()
  const parts = [HEAD]
  for (const entry of ENTRIES) {
    const module = entry === 'index' ? 'milo' : `milo/${entry}`
    parts.push(`## ${module}\n`)
    const symbols = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(file(entry))!)!)
    for (const exported of symbols.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported
      const declarations = symbol.declarations ?? []
      parts.push(`### ${exported.name}\n`)
      const before = declarations[0] && described.get(declarations[0])
      if (before !== undefined) {
        parts.push(`As in ${before}.\n`)
        continue
      }
      for (const declaration of declarations) {
        described.set(declaration, `${module}, \`${exported.name}\``)
        const statement = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration
        const hidden = basesOf(declaration, checker).filter(base => !symbols.some(s => s.name === base.name.text))
        parts.push(`\`\`\`ts\n${[statement, ...hidden].map(declared).join('\n\n')}\n\`\`\`\n`, docstring(statement))
      }
    }
  }
  return parts.filter(part => part !== '').join('\n')
}

/** The interfaces that an interface extends. */
function basesOf(node: ts.Declaration, checker: ts.TypeChecker): ts.InterfaceDeclaration[] {
  if (!ts.isInterfaceDeclaration(node)) return []
  const bases = (node.heritageClauses ?? []).flatMap(clause => [...clause.types])
  return bases.flatMap(base => {
    const found = checker.getTypeAtLocation(base).symbol?.declarations?.filter(ts.isInterfaceDeclaration) ?? []
    return found.flatMap(one => [one, ...basesOf(one, checker)])
  })
}

/** The declaration without what is private. Docstrings of members stay. */
function declared(node: ts.Node): string {
  const lines = node
    .getText()
    .replace(/^declare /, '')
    .split('\n')
  return lines.filter(line => !/^ +(private |#private)/.test(line)).join('\n')
}

function docstring(node: ts.Node): string {
  const [comment] = ts.getJSDocCommentsAndTags(node).filter(ts.isJSDoc)
  if (comment === undefined) return ''
  const text = comment
    .getText()
    .replace(/^\/\*\*|\*\/$/g, '')
    .replace(/^[ \t]*\* ?/gm, '')
    .replace(/^@param (\S+)/gm, '- `$1`:')
    .replace(/^@(returns|throws) /gm, '- $1 ')
    .replace(/^@example (.*)$/gm, '\n```js\n$1\n```')
    .trim()
  // A list needs a blank line above it.
  return `${text.replace(/^(?!- )(.+)\n(- (?:`|returns|throws))/gm, '$1\n\n$2')}\n`
}

/** What the file has, to be compared with `reference()`. */
export const written = (): string => readFileSync(PATH, 'utf8')

if (require.main === module) writeFileSync(PATH, reference())
