import type { ComponentChildren } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { Notice } from './notice'

interface Props<M> {
  load(): Promise<M>
  show(module: M): ComponentChildren
  meanwhile: ComponentChildren
}

/** Loads a part of the interface when it is first shown. */
export function Later<M>({ load, show, meanwhile }: Props<M>) {
  const [module, setModule] = useState<M | null>(null)
  const [failed, setFailed] = useState(false)
  useEffect(() => {
    let gone = false
    load().then(
      loaded => !gone && setModule(() => loaded),
      () => !gone && setFailed(true),
    )
    return () => {
      gone = true
    }
  }, [])
  if (module !== null) return <>{show(module)}</>
  if (!failed) return <>{meanwhile}</>
  return (
    <Notice title="A part of the page couldn't be loaded">
      <p>The collector at {location.host} didn't answer, or was updated after this page was opened. Reload the page.</p>
      <button type="button" onClick={() => location.reload()}>
        Reload
      </button>
    </Notice>
  )
}
