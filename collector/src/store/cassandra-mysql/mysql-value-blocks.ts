import { chunksBySize, grouped } from '../chunks'
import { hash52 } from '../hash64'
import type { MySql, Row } from './mysql'
import { bytes } from './mysql-list'
import { TERM_DIGITS, type Word } from './mysql-terms'

/**
 * The values of keys as sql/mysql/0004-value-blocks.sql has them, in blocks, for searches that have to read them all. A block has what
 * one key was first given on a day, of messages that were indexed together:
 *
 *     term, 7 bytes │ length of the text, 2 bytes │ text in UTF-8 │ term  …
 */

const TERM_BYTES = TERM_DIGITS / 2
const HEAD_BYTES = TERM_BYTES + 2
/** About how long a block is: InnoDB keeps so much in its page. */
const BLOCK_BYTES = 3_000
/** How many blocks are read at once. */
const MAX_BLOCKS = 200

/** A value of a key, and a day on which it was received. */
export interface Value {
  term: string
  day: number
}

/** Yields rows for those of the words that are values, as SQL. */
export function* valueBlocks(words: Word[], day: number): Generator<string> {
  for (const [key, values] of grouped(words, ({ key }) => key)) {
    if (key === undefined) continue
    for (const some of chunksBySize(values, BLOCK_BYTES, ({ text }) => HEAD_BYTES + text.length)) {
      const hex = some.map(entryHex).join('')
      yield `(x'${key.term}',${day},${hash52(hex)},x'${hex}')`
    }
  }
}

function entryHex({ term, text }: Word): string {
  const utf8 = Buffer.from(text)
  return term + utf8.length.toString(16).padStart(4, '0') + utf8.toString('hex')
}

/**
 * Returns the values that contain a part.
 * @param scope of the key; undefined: of any
 * @returns undefined if there are more than `max`
 */
export async function valuesContaining(
  db: MySql,
  scope: string | undefined,
  part: string,
  max: number,
): Promise<Value[] | undefined> {
  const needle = Buffer.from(part)
  const ofKey = scope === undefined ? '' : `scope = ${bytes(scope)} AND`
  const values = new Map<string, Value>()
  let rows: Row[] = []
  do {
    rows = await db.read(
      `SELECT HEX(scope), day, uid, texts FROM value_block WHERE ${ofKey} ${isAfter(rows.at(-1))} AND LOCATE(?, texts) > 0
       ORDER BY scope, day, uid LIMIT ${MAX_BLOCKS}`,
      [needle],
    )
    for (const [, day, , texts] of rows) {
      for (const term of termsContaining(texts as unknown as Buffer, needle)) {
        values.set(`${day} ${term}`, { term, day: Number(day) })
      }
    }
    if (values.size > max) return undefined
  } while (rows.length === MAX_BLOCKS)
  return [...values.values()]
}

function isAfter(row: Row | undefined): string {
  if (row === undefined) return 'TRUE'
  const [scope, day, uid] = [bytes(String(row[0])), row[1], row[2]]
  return `scope >= ${scope} AND (scope > ${scope} OR day > ${day} OR (day = ${day} AND uid > ${uid}))`
}

/** Yields the terms of a block's values that contain a part, in UTF-8 both. */
export function* termsContaining(texts: Buffer, part: Buffer): Generator<string> {
  let found = 0
  for (let at = 0; at < texts.length; ) {
    const textAt = at + HEAD_BYTES
    const end = textAt + texts.readUInt16BE(at + TERM_BYTES)
    if (found < textAt) found = texts.indexOf(part, textAt)
    if (found === -1) return
    if (found + part.length <= end) yield texts.toString('hex', at, at + TERM_BYTES)
    at = end
  }
}
