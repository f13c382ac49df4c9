import type { PluginHandle } from 'milo/plugin'

/**
 * Replaces a function of generated code, or of an application's object, as `plugin.wrap` does. But nobody keeps a list of
 * these: there may be thousands, and they come and go with what has them. One that can't be changed stays as it is.
 */
export function replace<F extends Function>(
  target: object,
  name: string,
  plugin: PluginHandle,
  make: (original: F) => F,
) {
  const property = Object.getOwnPropertyDescriptor(target, name)
  if (typeof property?.value !== 'function' || !(property.configurable || property.writable)) return
  Object.defineProperty(target, name, { ...property, value: plugin.imitate(property.value, make(property.value)) })
}
