/**
 * The token that this tab sends if the collector requires one. Browsers store passwords themselves; a token is kept until the
 * tab is closed.
 */
const KEY = 'milo.token'

export function token(): string | null {
  try {
    return sessionStorage.getItem(KEY)
  } catch {
    return null
  }
}

export function setToken(token: string): void {
  try {
    sessionStorage.setItem(KEY, token)
  } catch {
    // Storage is forbidden: the token can't be kept.
  }
}

export function requestHeaders(token: string | null): Record<string, string> {
  return { accept: 'application/json', ...(token === null ? {} : { authorization: `Bearer ${token}` }) }
}
