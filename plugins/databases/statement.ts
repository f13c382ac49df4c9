/**
 * Reads a statement as its database's lexer does, far enough to tell literals from all else.
 *
 * No literal ever comes out, whatever the text. Where the server's settings decide where a string ends (a backslash before a quote: MySQL's
 * NO_BACKSLASH_ESCAPES, PostgreSQL's standard_conforming_strings; code in one of MySQL's comments), the rest is left out. What is
 * never closed counts as a literal to its end.
 */

export type Dialect = 'mysql' | 'postgresql' | 'cql'

export interface Statement {
  /** With `?` in the place of literals, without comments; a list after IN is `(?)`. At most `limit` characters, the last one `…` if it was cut. */
  text: string
  /** What it does, such as SELECT; empty if it doesn't begin with a word. */
  operation: string
  /** The first table that it names; empty if it names none. */
  table: string
}

const LIMIT = 1024
/** No more characters of a statement are read. */
const MAX_READ = 16_384
const MAX_NAME = 100

const NUMBER = /\.?[0-9](?:[eE][+-](?=[0-9])|[\w.\u0080-\uffff])*/y
const DOLLAR_TAG = /\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/y
const LINE = /[^\n]*/y
const CR_LINE = /[^\n\r]*/y
const PARAMETER = /\$[0-9]+|:[A-Za-z_]\w*|\?+/y
/** CQL has these two without quotes. */
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/iy
const DURATION = /P(?:(?:\d+[YMWD])*(?:T(?:\d+[HMS])+)?|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?![\w-])/iy

/** Of a statement that begins with WITH, one of these tells what it does. */
const VERBS = new Set(['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'MERGE', 'REPLACE'])
const BEFORE_TABLE = new Set(['FROM', 'INTO', 'TABLE'])
const BETWEEN = new Set(['ONLY', 'IF', 'NOT', 'EXISTS', 'LOW_PRIORITY', 'IGNORE', 'TABLE', 'LATERAL'])

/** @param nameOnly stops when operation and table are known: the text isn't whole then */
export function readStatement(statement: string, dialect: Dialect, nameOnly = false): Statement {
  const reader = new Reader(statement.length > MAX_READ ? statement.slice(0, MAX_READ) : statement, dialect)
  reader.read(nameOnly)
  const isCut = reader.isStopped || statement.length > MAX_READ
  let text = isCut ? `${reader.out}…` : reader.out
  if (text.length > LIMIT) text = `${text.slice(0, LIMIT - 1)}…`
  return { text, operation: reader.operation, table: reader.table }
}

class Reader {
  out = ''
  operation = ''
  table = ''
  /** Whether what follows can't be told apart. */
  isStopped = false
  private readonly text: string
  private readonly dialect: Dialect
  private at = 0
  private hasSpace = false
  /** Parentheses that are open, and how many were where the operation stood. */
  private depth = 0
  private operationDepth = 0
  /** Whether a table's name is next; or goes on, after a dot. */
  private expects: 'table' | 'more' | 'dot' | undefined
  private word = ''
  /** The list after an IN that has had nothing but values so far: where its parenthesis is in `out`, and how many are open in it. */
  private list: { start: number; depth: number; hasValue: boolean } | undefined

  constructor(text: string, dialect: Dialect) {
    this.text = text
    this.dialect = dialect
  }

  read(nameOnly: boolean): void {
    const { text } = this
    while (this.at < text.length && !this.isStopped) {
      if (this.out.length > LIMIT && this.list === undefined) return
      if (nameOnly && this.table !== '' && this.expects === undefined) return
      const c = text.charCodeAt(this.at)
      if (isSpace(c)) {
        this.hasSpace = true
        this.at++
      } else if (mayComment(c) && this.skipComment()) this.hasSpace = true
      else this.token(c)
    }
    // A list that isn't closed, because the text was cut, has had nothing but values.
    if (this.list !== undefined) this.out = `${this.out.slice(0, this.list.start)}?`
  }

  private token(c: number) {
    const { text, dialect, at } = this
    const isDigit = c >= 48 && c <= 57
    const isLetter = (c >= 97 && c <= 122) || (c >= 65 && c <= 90) || c === 95 || c >= 128
    if (dialect === 'cql' && (isDigit || isLetter)) {
      const value = match(UUID, text, at) ?? match(DURATION, text, at)
      if (value !== undefined && value.length > 1) return this.literal(at + value.length)
    }
    if (isLetter) return this.name(this.endOfWord(at, dialect !== 'cql'))
    if (isDigit || (c === DOT && text.charCodeAt(at + 1) >= 48 && text.charCodeAt(at + 1) <= 57))
      return this.literal(at + match(NUMBER, text, at)!.length)
    if (c === QUOTE || (c === DOUBLE_QUOTE && dialect === 'mysql')) return this.literal(this.endOfString(at, false))
    if (c === DOUBLE_QUOTE || (c === BACKTICK && dialect === 'mysql')) return this.quotedName(text[at]!)
    if (c === DOLLAR && dialect !== 'mysql') {
      const tag = dialect === 'cql' ? (text.startsWith('$$', at) ? '$$' : undefined) : match(DOLLAR_TAG, text, at)
      if (tag !== undefined) {
        const end = text.indexOf(tag, at + tag.length)
        return this.literal(end === -1 ? text.length : end + tag.length)
      }
    }
    if (c === DOLLAR || c === QUESTION_MARK || (c === COLON && text.charCodeAt(at - 1) !== COLON)) {
      const parameter = match(PARAMETER, text, at)
      if (parameter !== undefined) return this.value(parameter, at + parameter.length)
    }
    this.punctuation(text[at]!)
  }

  /** The place behind a word that begins at `at`. */
  private endOfWord(at: number, hasDollars: boolean): number {
    const { text } = this
    for (let i = at + 1; ; i++) {
      const c = text.charCodeAt(i)
      const isPart = (c >= 97 && c <= 122) || (c >= 65 && c <= 90) || (c >= 48 && c <= 57) || c === 95 || c >= 128
      if (!isPart && !(c === DOLLAR && hasDollars)) return i
    }
  }

  /** @returns whether there was one; the reader is behind it */
  private skipComment(): boolean {
    const { text, dialect, at } = this
    const isLine =
      (text.startsWith('--', at) && (dialect !== 'mysql' || !(text.charCodeAt(at + 2) > 32))) ||
      (text.startsWith('//', at) && dialect === 'cql') ||
      (text.charCodeAt(at) === HASH && dialect === 'mysql')
    if (isLine) {
      this.at += match(dialect === 'mysql' ? LINE : CR_LINE, text, at)!.length
      return true
    }
    if (!text.startsWith('/*', at)) return false
    let end = at + 2
    for (let open = 1; open > 0; ) {
      const close = text.indexOf('*/', end)
      const inner = dialect === 'postgresql' ? text.indexOf('/*', end) : -1
      if (close === -1) {
        end = text.length
        break
      }
      const opens = inner !== -1 && inner < close
      open += opens ? 1 : -1
      end = (opens ? inner : close) + 2
    }
    // MySQL may run what is in such a comment, and then a string that begins in it goes on behind it.
    if (dialect === 'mysql' && /^\/\*M?!/.test(text.slice(at, at + 4)) && /['"`#]|--/.test(text.slice(at, end)))
      this.stop()
    this.at = end
    return true
  }

  /** The place behind a string that begins at `at`. @param escapes whether a backslash is known to escape what follows */
  private endOfString(at: number, escapes: boolean): number {
    const { text, dialect } = this
    const quote = text[at]!
    for (let i = at + 1; ; i++) {
      i = text.indexOf(quote, i)
      if (i === -1) return text.length
      let backslashes = 0
      while (text[i - 1 - backslashes] === '\\') backslashes++
      if (backslashes % 2 === 1 && dialect !== 'cql') {
        if (escapes) continue
        this.stop()
        return text.length
      }
      if (text[i + 1] !== quote) return i + 1
      i++
    }
  }

  private quotedName(quote: string) {
    const { text, at } = this
    let end = at + 1
    for (; ; end++) {
      end = text.indexOf(quote, end)
      if (end === -1) return this.literal(text.length)
      if (text[end + 1] !== quote) break
      end++
    }
    this.leaveList()
    this.nameTable(text.slice(at + 1, end))
    this.word = ''
    this.add(text.slice(at, end + 1), end + 1)
  }

  private name(end: number) {
    const { text, at, dialect } = this
    const word = text.slice(at, end)
    // A word of one letter before a string belongs to it: E'…', x'…', N'…'.
    if (text.charCodeAt(end) === QUOTE && /^[ebxn]$/i.test(word))
      return this.literal(this.endOfString(end, dialect === 'postgresql' && /e/i.test(word)))
    // A UUID may have been cut in two.
    if (end === MAX_READ) {
      this.at = end
      return
    }
    this.leaveList()
    this.seeWord(word)
    this.add(word, end)
  }

  private seeWord(word: string): void {
    const upper = word.length > 20 ? word : word.toUpperCase()
    this.word = upper
    if (this.operation === '' || (this.operation === 'WITH' && this.depth === 0 && VERBS.has(upper))) {
      this.operation = upper.length > 20 ? '' : upper
      this.operationDepth = this.depth
      this.expects = ['UPDATE', 'TRUNCATE', 'CALL', 'COPY'].includes(upper) ? 'table' : undefined
    } else if (this.table === '' && this.expects === undefined && this.depth === this.operationDepth) {
      if (BEFORE_TABLE.has(upper)) this.expects = 'table'
    } else if (this.expects !== undefined && !BETWEEN.has(upper)) this.nameTable(word)
  }

  private nameTable(name: string): void {
    if (this.expects === 'table') this.table = name.slice(0, MAX_NAME)
    else if (this.expects === 'more') this.table = `${this.table}.${name}`.slice(0, MAX_NAME)
    this.expects = this.expects === 'table' || this.expects === 'more' ? 'dot' : undefined
  }

  private punctuation(c: string): void {
    const isList = c === '(' && this.word === 'IN'
    if (c === '(') this.depth++
    else if (c === ')') this.depth--
    this.expects = c === '.' && this.expects === 'dot' ? 'more' : undefined
    this.word = ''
    if (isList) {
      this.add(c, this.at + 1)
      this.list = { start: this.out.length, depth: 1, hasValue: false }
      return
    }
    if (this.list !== undefined) {
      if (c === '(') this.list.depth++
      else if (c === ')' && --this.list.depth === 0) {
        if (this.list.hasValue) this.out = `${this.out.slice(0, this.list.start)}?`
        this.list = undefined
        this.hasSpace = false
      } else if (!',+-)'.includes(c)) this.leaveList()
    }
    this.add(c, this.at + 1)
  }

  private literal(end: number): void {
    this.value('?', end)
  }

  private value(text: string, end: number): void {
    if (this.list !== undefined) this.list.hasValue = true
    this.expects = undefined
    this.word = ''
    this.add(text, end)
  }

  private add(token: string, end: number): void {
    if (this.hasSpace && this.out !== '') this.out += ' '
    this.hasSpace = false
    this.out += token
    this.at = end
  }

  private leaveList(): void {
    this.list = undefined
  }

  private stop(): void {
    this.isStopped = true
  }
}

function isSpace(c: number): boolean {
  return c <= 32 || c === 0xa0 || c === 0xfeff
}

function mayComment(c: number): boolean {
  return c === MINUS || c === SLASH || c === HASH
}

const DOUBLE_QUOTE = 34
const HASH = 35
const DOLLAR = 36
const QUOTE = 39
const MINUS = 45
const DOT = 46
const SLASH = 47
const COLON = 58
const QUESTION_MARK = 63
const BACKTICK = 96

function match(pattern: RegExp, text: string, at: number): string | undefined {
  pattern.lastIndex = at
  return pattern.exec(text)?.[0]
}
