import '../styles/tokens.css'
import '../styles/base.css'
import '../styles/find.css'
import { render } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { FindPage } from '../find/find-page'
import { Boundary } from '../parts/boundary'
import { Later } from '../parts/later'
import { Waiting } from '../parts/notice'
import { loadTraceAhead } from '../trace/load-trace'
import { currentAddress, hrefOf, useAddress, watchAddress } from './address'
import { Header } from './header'
import { routeOf } from './route'
import { listenForShortcuts } from './shortcuts'

function App() {
  const address = useAddress()
  const route = routeOf(address)
  const main = useRef<HTMLElement>(null)
  const first = useRef(true)
  useEffect(() => {
    if (!first.current) {
      scrollTo(0, 0)
      main.current?.focus({ preventScroll: true })
    }
    first.current = false
  }, [address.path])
  return (
    <>
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        Skip to the content
      </button>
      <Header route={route} address={address} />
      <main id="main" ref={main} tabIndex={-1} class={route.page}>
        <Boundary what="This page" of={hrefOf(address)}>
          {route.page === 'trace' ? (
            <Later
              key={route.id}
              load={() => import('../trace/trace-page')}
              show={({ TracePage }) => <TracePage id={route.id} query={address.query} />}
              meanwhile={<Waiting what={`trace ${route.id}`} />}
            />
          ) : route.page === 'services' ? (
            <Later
              key="services"
              load={() => import('../services/services-page')}
              show={({ ServicesPage }) => <ServicesPage query={address.query} />}
              meanwhile={<Waiting what="services" />}
            />
          ) : route.page === 'difference' ? (
            <Later
              key="difference"
              load={() => import('../find/difference/difference-page')}
              show={({ DifferencePage }) => <DifferencePage query={address.query} />}
              meanwhile={<Waiting what="the comparison" />}
            />
          ) : route.page === 'service' ? (
            <Later
              key="service"
              load={() => import('../services/service-page')}
              show={({ ServicePage }) => <ServicePage service={route.service} query={address.query} />}
              meanwhile={<Waiting what="the service" />}
            />
          ) : route.page === 'changes' ? (
            <Later
              key="changes"
              load={() => import('../services/changes-page')}
              show={({ ChangesPage }) => <ChangesPage query={address.query} />}
              meanwhile={<Waiting what="what has changed" />}
            />
          ) : route.page === 'graph' ? (
            <Later
              key="graph"
              load={() => import('../services/graph-page')}
              show={({ GraphPage }) => <GraphPage query={address.query} />}
              meanwhile={<Waiting what="the graph" />}
            />
          ) : (
            <FindPage path={address.path} query={address.query} />
          )}
        </Boundary>
      </main>
    </>
  )
}

watchAddress()
listenForShortcuts()
const first = routeOf(currentAddress())
if (first.page === 'trace') loadTraceAhead(first.id)
render(<App />, document.getElementById('app')!)
