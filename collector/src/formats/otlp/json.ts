import type { Fields } from '../fields'

/** Renames fields to the names of protobuf's JSON mapping: some senders use the names in the .proto files (snake_case). */
export function camelCased(fields: Fields): Fields {
  let renamed: Fields | undefined
  for (const key of Object.keys(fields)) {
    if (!key.includes('_')) continue
    const name = key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
    if (name === key || Object.hasOwn(fields, name)) continue
    renamed ??= { ...fields }
    renamed[name] = fields[key]
    delete renamed[key]
  }
  return renamed ?? fields
}

/** Returns a copy without empty fields, which protobuf leaves out too. */
export function prune<V extends Fields>(fields: V): Partial<V> {
  const full = Object.entries(fields).filter(
    ([, v]) => v !== undefined && v !== '' && v !== 0 && !(Array.isArray(v) && v.length === 0),
  )
  return Object.fromEntries(full) as Partial<V>
}
