/** Formats JSON with one value per line. The JSON may be cut off anywhere. */
export function indentJson(text: string): string {
  let out = ''
  let depth = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!
    if (inString) {
      out += c
      if (c === '\\') out += text[++i] ?? ''
      else if (c === '"') inString = false
      continue
    }
    if (/\s/.test(c)) continue
    if (c === '"') inString = true
    if (c === '}' || c === ']') {
      depth--
      out += `\n${'  '.repeat(Math.max(0, depth))}`
    }
    out += c
    if (c === '{' || c === '[') {
      const close = c === '{' ? '}' : ']'
      if (text[i + 1] === close) {
        out += close
        i++
        continue
      }
      depth++
      out += `\n${'  '.repeat(depth)}`
    } else if (c === ',') out += `\n${'  '.repeat(depth)}`
    else if (c === ':') out += ' '
  }
  return out
}
