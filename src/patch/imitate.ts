/**
 * Gives `replacement` what others may look at in `original`: length, name, statics, prototype, symbols such as
 * util.promisify.custom, the class by which async functions are told, and the metadata of decorators.
 */
export function imitate<F extends Function>(original: F, replacement: F): F {
  for (const key of Reflect.ownKeys(original)) {
    // Functions of sloppy mode have these of their own, with values of a call that is going on.
    if (key === 'arguments' || key === 'caller') continue
    Object.defineProperty(replacement, key, Object.getOwnPropertyDescriptor(original, key)!)
  }
  const prototype = Object.getPrototypeOf(original)
  if (Object.getPrototypeOf(replacement) !== prototype) Object.setPrototypeOf(replacement, prototype)
  // Those of reflect-metadata, which keeps them by function.
  const { getOwnMetadataKeys, getOwnMetadata, defineMetadata } = Reflect as any
  if (typeof getOwnMetadataKeys === 'function') {
    for (const key of getOwnMetadataKeys(original)) defineMetadata(key, getOwnMetadata(key, original), replacement)
  }
  return replacement
}
