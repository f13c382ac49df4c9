import { useState } from 'preact/hooks'
import { ask } from '../shell/ask'
import { token } from '../shell/credentials'
import { type Problem, problemFrom } from '../shell/problem'

/** So long the browser may take to begin with a file that the page has. */
const HAND_OVER_MS = 60_000

/**
 * A file of the collector's. The browser fetches it itself, straight onto the disk, unless it takes a token: that it can't send
 * by itself.
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
  /** Null when it begins anew. */
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
