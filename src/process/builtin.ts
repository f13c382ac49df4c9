interface Builtins {
  'node:crypto': typeof import('node:crypto')
  'node:net': typeof import('node:net')
  'node:os': typeof import('node:os')
  'node:zlib': typeof import('node:zlib')
}

/**
 * Gets a module of Node's that is needed late: most programs don't pay for loading it. The `require` that jest gives to a test file
 * complains once that file has ended, fails the run and returns nothing, but timers and sockets that were begun in the file go on.
 * @param load requires it, for Node before 20.16 and 22.3; there bundlers look for the name
 */
export function builtin<N extends keyof Builtins>(name: N, load: () => Builtins[N]): Builtins[N] {
  return (process.getBuiltinModule?.(name) as Builtins[N] | undefined) ?? load()
}
