import { extname, relative } from 'node:path'
import { isMain, packageOf, versionOf } from './package-file'
import type { Patch, Plugin } from './plugin'

/*
 * A module that passes no `load` of Node's shows itself to Milo by a call at the end of its own source:
 *
 *     in a bundle        the bundler's plugin appends it (src/bundler)
 *     an ES module       Node's hooks append it (esm.ts), for the files that a patch names as such
 *
 * The call is all that there is: no wrapper that other modules would import instead. So cycles, live bindings, top-level await
 * and source maps stay as they are. Without Milo it notes the file in a list, and nothing else happens.
 */

/**
 * Where such a module finds Milo. The name never changes: bundles live long. Here it isn't in one piece, because bundles with such modules are
 * known by it, and Milo may be in a bundle without any.
 */
const HOME = `globalThis[Symbol.for("${['milo', 'bundled'].join('.')}")]`

/** @returns the source that shows the module, or undefined where no plugin wants to see it */
export type Instrument = (source: string, file: string) => string | undefined

/** @param root the folder from which files outside of node_modules are named */
export function instrumentFor(plugins: Plugin[], root: string): Instrument {
  const patches = group(plugins)
  const copied = plugins.flatMap(({ patches }) => patches.filter(({ copies, file }) => copies && file).map(baseOf))
  const signs = plugins.flatMap(({ sign }) => sign ?? [])
  return (source, file) => {
    const slashed = file.replaceAll('\\', '/')
    const found = packageOf(file)
    const wanted = found === undefined ? [] : (patches.get(found.name) ?? [])
    const main = found !== undefined && wanted.some(patch => patch.file === undefined) && isMain(file, found.name)
    const named = wanted.filter(patch => (patch.file === undefined ? main : patch.file === found!.path))
    if (named.length === 0 && !copied.includes(baseOf({ file: slashed })) && !signs.some(sign => sign.test(source)))
      return undefined
    const shown =
      found === undefined ? relative(root, file).replaceAll('\\', '/') : `/node_modules/${found.name}/${found.path}`
    return append(
      source,
      file,
      [shown, found && versionOf(found.folder), main],
      named.some(patch => patch.esm),
    )
  }
}

function group(plugins: Plugin[]): Map<string, Patch[]> {
  const patches = new Map<string, Patch[]>()
  for (const patch of plugins.flatMap(plugin => plugin.patches)) {
    const there = patches.get(patch.module)
    if (there === undefined) patches.set(patch.module, [patch])
    else there.push(patch)
  }
  return patches
}

function baseOf({ file }: { file?: string }): string {
  return file!.slice(file!.lastIndexOf('/') + 1)
}

/** @param shown what the module says of itself: its file, the package's version, whether it is the package's main file */
export function append(source: string, file: string, shown: unknown[], replaceable: boolean): string {
  // Node 20 runs -r in the hooks' thread too, so that the hooks are there twice.
  if (source.includes(HOME)) return source
  const what = shown.map(value => JSON.stringify(value) ?? 'void 0').join(',')
  const call = (act: string) =>
    `\n;(function(milo){if(milo.patch){${act}}else milo.early.push(${JSON.stringify(shown[0])})})(${HOME}||(${HOME}={early:[]}));\n`
  if (!isEsm(source, file)) {
    // Only a function may be replaced by another, and then the source has such an assignment already.
    const assign = /\bmodule\s*\.\s*exports\s*=/.test(source) ? 'module.exports=' : ''
    return source + call(`${assign}milo.patch(${what},${assign === '' ? 'exports' : 'module.exports'})`)
  }
  const made = replaceable ? withoutConstants(source) : source
  const exported = exportsOf(made)
  const object = [...exported].map(([name, { local }]) => `${JSON.stringify(name)}:${local}`).join(',')
  const back = [...exported]
    .filter(([, { isVariable }]) => replaceable && isVariable)
    .map(([name, { local }]) => `if(e[${JSON.stringify(name)}]!==${local})${local}=e[${JSON.stringify(name)}];`)
  return made + call(`var e={${object}};milo.patch(${what},e);${back.join('')}`)
}

function isEsm(source: string, file: string): boolean {
  const extension = extname(file)
  if (/^\.m[jt]s$/.test(extension)) return true
  if (/^\.c[jt]s$/.test(extension)) return false
  return /^[ \t]*(?:export\s+(?:[{*]|default\b|async\b|function\b|class\b|const\b|let\b|var\b|abstract\b)|import\s*["'{*\w])/m.test(
    source,
  )
}

/** A constant that a patch replaces has to be a variable. The text keeps its length, and so its source map. */
function withoutConstants(source: string): string {
  const named = [...exportsOf(source).values()].map(({ local }) => local)
  return source.replace(/^((?:export[ \t]+)?)const([ \t]+)(\w+)/gm, (all, before, space, name) =>
    named.includes(name) ? `${before}let  ${space}${name}` : all,
  )
}

/** What an ES module exports under a name of its own: not what it passes on from others, and no value without a name. */
function exportsOf(source: string): Map<string, { local: string; isVariable: boolean }> {
  const exported = new Map<string, { local: string; isVariable: boolean }>()
  const add = (name: string, local: string) => {
    const declared = new RegExp(
      `^(?:export[ \\t]+(?:default[ \\t]+)?)?(?:(?:async[ \\t]+)?function\\b\\*?|class|let|var)[ \\t]+${local.replaceAll('$', '\\$')}\\b`,
      'm',
    )
    exported.set(name, { local, isVariable: declared.test(source) })
  }
  for (const [, isDefault, local] of source.matchAll(
    /^[ \t]*export\s+(default\s+)?(?:(?:async\s+)?function\b\s*\*?|(?:abstract\s+)?class|const|let|var)\s+(?!extends\b)([\w$]+)/gm,
  ))
    add(isDefault === undefined ? local! : 'default', local!)
  for (const [, list] of source.matchAll(/^[ \t]*export\s*\{([^}]*)\}(?!\s*from\b)/gm)) {
    for (const part of list!.split(',')) {
      const [, local, name = local] = /^\s*([\w$]+)(?:\s+as\s+([\w$]+))?\s*$/.exec(part) ?? []
      if (local !== undefined) add(name!, local)
    }
  }
  return exported
}
