/** One line of a stack. */
export interface Frame {
  text: string
  /** Whether it is of the language or of a library, rather than of the application. */
  library: boolean
}

const LIBRARY = [
  /[\\/]node_modules[\\/]|\(?node:|\(internal\/|<anonymous>\)?$/,
  /[\\/](?:site|dist)-packages[\\/]|[\\/]lib[\\/]python\d|File "<frozen /,
  /^\s*at (?:java|javax|jakarta|jdk|sun|com\.sun|kotlin|kotlinx|scala|akka|io\.netty|org\.(?:springframework|apache|eclipse|hibernate))\./,
  /^\s*at (?:System|Microsoft)\./,
  /[\\/](?:go|golang)[\\/](?:src|pkg)[\\/]|[\\/]gems[\\/]/,
]

/** Splits a stack into lines. What the page shows above it, the type and the message, isn't repeated. */
export function framesOf(stack: string, type: string | null, message: string | null): Frame[] {
  let text = stack.replaceAll('\r\n', '\n').trim()
  for (const head of [`${type}: ${message}`, message, type]) {
    if (head === null || head === '' || !text.startsWith(head)) continue
    const rest = text.slice(head.length)
    if (!/^:?\s*(?:\n|$)/.test(rest)) continue
    text = rest.replace(/^:?\s*(?:\n|$)/, '')
    break
  }
  if (text.trim() === '') return []
  const lines = text.split('\n').map(line => line.replaceAll('\t', '    ').trimEnd())
  const indent = lines.reduce((least, line) => (line === '' ? least : Math.min(least, line.search(/\S/))), Infinity)
  return lines.map(line => ({ text: line.slice(indent), library: LIBRARY.some(pattern => pattern.test(line)) }))
}
