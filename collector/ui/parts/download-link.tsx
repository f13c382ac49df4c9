import { useState } from 'preact/hooks'
import { ask } from '../shell/ask'
import { token } from '../shell/credentials'
import { type Problem, problemFrom } from '../shell/problem'

/** How long the browser may take to start saving a file that the page holds. */
const HAND_OVER_MS = 60_000

/**
 * Links to a file of the collector. The browser downloads it directly to disk, unless the collector wants a token: a browser
 * can't send one by itself, so the page fetches the file.
 */
export function DownloadLink({ url, name, onFailure }: DownloadLinkProps) {
  const [loading, setLoading] = useState(false)
  const start = () => {
    if (loading) return
    setLoading(true)
    onFailure(null)
    download(url, name)
      .catch((problem: Problem) => onFailure({ url, problem, retry: start }))
      .finally(() => setLoading(false))
  }
  const click = (event: MouseEvent) => {
    if (token() === null) return
    event.preventDefault()
    start()
  }
  return (
    <a class="button" href={url} download={name} aria-busy={loading} onClick={click}>
      {loading ? 'Downloading…' : 'Download'}
    </a>
  )
}

interface DownloadLinkProps {
  url: string
  name: string
  /** Called with null when a new attempt begins. */
  onFailure(failure: DownloadFailure | null): void
}

export interface DownloadFailure {
  url: string
  problem: Problem
  retry(): void
}

/** @throws Problem */
async function download(url: string, name: string): Promise<void> {
  const file = await (await ask(url, token())).blob().catch(error => {
    throw problemFrom(error)
  })
  const address = URL.createObjectURL(file)
  Object.assign(document.createElement('a'), { href: address, download: name }).click()
  setTimeout(() => URL.revokeObjectURL(address), HAND_OVER_MS)
}
