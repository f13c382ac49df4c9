/** How requests are named, by whatever protocol and library they travel. */

/** The path of a request's URL, without its query, which may hold secrets. */
export function pathOf(url: string): string {
  for (let i = 0; i < url.length; i++) {
    const c = url.charCodeAt(i)
    if (c === QUESTION_MARK || c === HASH) return url.slice(0, i)
  }
  return url
}

const SLASH = 47
const HASH = 35
const QUESTION_MARK = 63

/**
 * A name that many requests share: method and path, a segment that looks like a value replaced by `*` (one with a
 * digit in it, or longer than 32 characters), four segments at most. One pass: every request pays for it, sampled or not.
 */
export function operation(method: string, url: string): string {
  let name = `${method} `
  let segments = 0
  /** Where the segment begins; what has been taken over into the name ends at `taken`. */
  let start = -1
  let taken = 0
  let isValue = false
  for (let i = 0; ; i++) {
    const c = i < url.length ? url.charCodeAt(i) : QUESTION_MARK
    if (c !== SLASH && c !== QUESTION_MARK && c !== HASH) {
      if (c >= 48 && c <= 57) isValue = true
      continue
    }
    if (segments > 0 && (isValue || i - start > 32)) {
      name += `${url.slice(taken, start)}*`
      taken = i
    }
    if (c !== SLASH) return segments === 0 ? `${name}/` : name + url.slice(taken, i)
    if (segments === 0) taken = i
    if (++segments > 4) return `${name}${url.slice(taken, i)}/…`
    start = i + 1
    isValue = false
  }
}
