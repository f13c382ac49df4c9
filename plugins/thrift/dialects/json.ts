import { entriesOf, type PluginHandle, type Span } from 'milo/plugin'
import { COMPAT_ID, MAX_ENTRIES, MAX_TEXT_BYTES, OPENTRACING_ID, readEntries } from '../carriers/entries'
import { FIELD_ID, fieldLength, putField, readField } from '../carriers/field'
import { type Found, found, RANK_FIELD } from '../carriers/found'
import { type Dialect, type Library, patchProtocol } from '../protocol'

/** The JSON protocol: where its carriers are. docs/wire-format.md draws them. */

export function patchJsonProtocol(prototype: any, plugin: PluginHandle, library?: Library): void {
  // Thrift 0.9.3's throws. A client of that version probably calls servers of that version, which any carrier would break.
  const cannotSkip = /not supported/.test(Function.prototype.toString.call(prototype.skip))
  const dialect: Dialect = {
    callTrace: false,
    cannotSkip,
    addCarrier({ tstack }, { carrier, span }) {
      if (cannotSkip) return
      const top = tstack.length - 1
      const args = tstack[top]
      const member = carrier === 'field' ? jsonField(span) : carrier === 'compat' ? jsonCompat(span) : undefined
      if (member === undefined || typeof args !== 'string' || !args.endsWith('}')) return
      tstack[top] = `${args.slice(0, -1)}${args === '{}' ? '' : ','}${member}}`
    },
    findCarrier: ({ rstack }) => readJsonCarrier(rstack[rstack.length - 1]),
    // The result has been made when the message ends, and is asked for just before.
    isSuccess({ tstack }) {
      const result = tstack[tstack.length - 1]
      return typeof result !== 'string' || result === '{}' || result.startsWith('{"0":')
    },
    messageOf({ tstack }) {
      try {
        const text = JSON.parse(String(tstack[tstack.length - 1]))[1]?.str
        return typeof text === 'string' ? text : undefined
      } catch {
        // Old versions don't escape what is written.
        return undefined
      }
    },
    written: ({ tstack }) => tstack.reduce((sum: number, part) => sum + String(part).length + 2, 0),
  }
  patchProtocol(prototype, plugin, dialect, library)
}

/** Milo's field as a member of JSON's object of arguments, without the comma before it. */
function jsonField(span: Span): string {
  const length = fieldLength(span)
  const b = Buffer.allocUnsafe(length)
  putField(b, 0, span, length)
  return `"${FIELD_ID}":{"lst":["i8",${length}${[...new Int8Array(b)].map(byte => `,${byte}`).join('')}]}`
}

function jsonCompat(span: Span): string | undefined {
  const entries = entriesOf(span)
  if (entries.length === 0) return undefined
  return `"${COMPAT_ID}":{"map":["str","str",${entries.length},${JSON.stringify(Object.fromEntries(entries))}]}`
}

/** How far into a JSON message's nested structs carriers are looked for: older clients put theirs into the first one. */
const MAX_JSON_DEPTH = 8

/** Looks for carriers in the arguments of a JSON message, which has been parsed whole. Reads them without taking them. */
function readJsonCarrier(struct: unknown, depth = 0): Found | undefined {
  if (typeof struct !== 'object' || struct === null || depth > MAX_JSON_DEPTH) return undefined
  const fields = struct as Record<string, any>
  const list = depth === 0 ? fields[FIELD_ID]?.lst : undefined
  if (Array.isArray(list) && list[0] === 'i8' && list.length >= 3 && list.length <= 258) {
    const bytes = list.slice(2)
    if (bytes.length === list[1] && bytes.every(b => Number.isInteger(b) && b >= -128 && b <= 127)) {
      const own = found(readField(Buffer.from(bytes), 0, bytes.length), RANK_FIELD)
      if (own !== undefined) return own
    }
  }
  let best: Found | undefined
  for (const id of [COMPAT_ID, OPENTRACING_ID]) {
    const map = fields[id]?.map
    if (!Array.isArray(map) || map[0] !== 'str' || map[1] !== 'str' || typeof map[3] !== 'object' || map[3] === null)
      continue
    const entries = Object.keys(map[3]).length
    const texts = entries > MAX_ENTRIES ? [] : Object.entries<unknown>(map[3]).flat()
    const one = readEntries(id, entries, () => {
      const text = texts.shift()
      return typeof text === 'string' && Buffer.byteLength(text) <= MAX_TEXT_BYTES ? text : null
    })
    if (one !== undefined && best?.remote === undefined) best = { ...one, baggage: best?.baggage ?? one.baggage }
  }
  if (best !== undefined) return best
  for (const field of Object.values(fields)) {
    const nested = readJsonCarrier(field?.rec, depth + 1)
    if (nested !== undefined) return nested
  }
  return undefined
}
