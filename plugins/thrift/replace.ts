import type { PluginHandle } from 'milo/plugin'

/**
 * Replaces a function of generated code, or of an application's object, as `plugin.wrap` does, but isn't recorded:
 * there may be thousands, which come and go with their objects. A property that can't be changed stays as it is.
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

export function apply(method: Function, self: unknown, args: ArrayLike<unknown>): unknown {
  return Reflect.apply(method, self, args)
}
