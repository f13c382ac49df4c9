import { useEffect, useState } from 'preact/hooks'

/** Copies `text`. Renders nothing where the browser doesn't let a page copy: over plain HTTP from another host. */
export function CopyButton({ text, what }: { text: string; what: string }) {
  const [copied, setCopied] = useState(false)
  useEffect(() => {
    if (!copied) return
    const timer = setTimeout(() => setCopied(false), 1500)
    return () => clearTimeout(timer)
  }, [copied])
  if (!navigator.clipboard) return null
  const copy = () =>
    navigator.clipboard.writeText(text).then(
      () => setCopied(true),
      () => setCopied(false),
    )
  return (
    <button type="button" class="small copy" aria-label={copied ? 'Copied' : `Copy ${what}`} onClick={copy}>
      {copied ? 'Copied' : 'Copy'}
    </button>
  )
}
