import { render } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { FindPage } from './find-page'
import { Header } from './header'
import { Notice } from './notice'
import { findHref, type Route, useRoute } from './route'
import { TracePage } from './trace-page'

function App() {
  const route = useRoute()
  const main = useRef<HTMLElement>(null)
  const place = route.page === 'trace' ? `trace/${route.id}` : route.page === 'find' ? findHref(route.query) : 'unknown'
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
        <Page route={route} />
      </main>
    </>
  )
}

function Page({ route }: { route: Route }) {
  switch (route.page) {
    case 'find':
      return <FindPage query={route.query} />
    case 'trace':
      return <TracePage key={route.id} id={route.id} spanId={route.spanId} />
    default:
      return (
        <Notice title="There is no such page">
          <p>
            Traces are at <code>/trace/</code> and their id. <a href="/">Search for one</a> instead.
          </p>
        </Notice>
      )
  }
}

render(<App />, document.getElementById('app')!)
