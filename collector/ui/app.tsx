import { render } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { FindPage } from './find-page'
import { Header } from './header'
import { findHref, traceHref, useRoute } from './route'
import { TracePage } from './trace-page'

function App() {
  const route = useRoute()
  const main = useRef<HTMLElement>(null)
  const place = route.page === 'trace' ? traceHref(route.id) : findHref(route.query)
  const first = useRef(place)
  useEffect(() => {
    if (place === first.current) return
    first.current = ''
    scrollTo(0, 0)
    main.current?.focus({ preventScroll: true })
  }, [place])
  return (
    <>
      <Header />
      <main ref={main} tabIndex={-1}>
        {route.page === 'find' ? (
          <FindPage query={route.query} />
        ) : (
          <TracePage key={route.id} id={route.id} spanId={route.spanId} />
        )}
      </main>
    </>
  )
}

render(<App />, document.getElementById('app')!)
