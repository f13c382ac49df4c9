import '../styles/tokens.css'
import '../styles/base.css'
import '../styles/find.css'
import { type ComponentChild, render } from 'preact'
import { useLayoutEffect, useRef } from 'preact/hooks'
import { FindPage } from '../find/find-page'
import { Boundary } from '../parts/boundary'
import { Later } from '../parts/later'
import { Waiting } from '../parts/notice'
import { loadTraceAhead } from '../trace/load-trace'
import { type Address, currentAddress, hrefOf, useAddress, watchAddress } from './address'
import { Header } from './header'
import { type Route, routeOf } from './route'
import { listenForShortcuts } from './shortcuts'

function App() {
  const address = useAddress()
  const route = routeOf(address)
  const main = useRef<HTMLElement>(null)
  const first = useRef(true)
  useLayoutEffect(() => {
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
          {pageOf(route, address)}
        </Boundary>
      </main>
    </>
  )
}

/** The page that a route leads to. Every page but Find is loaded when it is first shown. */
function pageOf(route: Route, { path, query }: Address): ComponentChild {
  switch (route.page) {
    case 'find':
      return <FindPage path={path} query={query} />
    case 'trace':
      return (
        <Later
          key={route.id}
          load={() => import('../trace/trace-page')}
          show={({ TracePage }) => <TracePage id={route.id} query={query} />}
          meanwhile={<Waiting what={`trace ${route.id}`} />}
        />
      )
    case 'services':
      return (
        <Later
          key="services"
          load={() => import('../services/services-page')}
          show={({ ServicesPage }) => <ServicesPage query={query} />}
          meanwhile={<Waiting what="services" />}
        />
      )
    case 'service':
      return (
        <Later
          key="service"
          load={() => import('../services/service-page')}
          show={({ ServicePage }) => <ServicePage service={route.service} query={query} />}
          meanwhile={<Waiting what="the service" />}
        />
      )
    case 'graph':
      return (
        <Later
          key="graph"
          load={() => import('../services/graph-page')}
          show={({ GraphPage }) => <GraphPage query={query} />}
          meanwhile={<Waiting what="the graph" />}
        />
      )
    case 'changes':
      return (
        <Later
          key="changes"
          load={() => import('../services/changes-page')}
          show={({ ChangesPage }) => <ChangesPage query={query} />}
          meanwhile={<Waiting what="what has changed" />}
        />
      )
    case 'kept':
      return (
        <Later
          key="kept"
          load={() => import('../kept/kept-page')}
          show={({ KeptPage }) => <KeptPage query={query} />}
          meanwhile={<Waiting what="what was kept" />}
        />
      )
    case 'analysis':
      return (
        <Later
          key="analysis"
          load={() => import('../analysis/analysis-page')}
          show={({ AnalysisPage }) => <AnalysisPage query={query} />}
          meanwhile={<Waiting what="the analysis" />}
        />
      )
    case 'errors':
      return (
        <Later
          key="errors"
          load={() => import('../errors/errors-page')}
          show={({ ErrorsPage }) => <ErrorsPage query={query} />}
          meanwhile={<Waiting what="errors" />}
        />
      )
    case 'difference':
      return (
        <Later
          key="difference"
          load={() => import('../find/difference/difference-page')}
          show={({ DifferencePage }) => <DifferencePage query={query} />}
          meanwhile={<Waiting what="the comparison" />}
        />
      )
    case 'compare':
      return (
        <Later
          key="compare"
          load={() => import('../compare/compare-page')}
          show={({ ComparePage }) => <ComparePage query={query} />}
          meanwhile={<Waiting what="the comparison" />}
        />
      )
    case 'upload':
      return (
        <Later
          key="upload"
          load={() => import('../find/upload-page')}
          show={({ UploadPage }) => <UploadPage />}
          meanwhile={<Waiting what="the page" />}
        />
      )
    case 'missing':
      return (
        <Later
          key="missing"
          load={() => import('./missing-page')}
          show={({ MissingPage }) => <MissingPage path={path} />}
          meanwhile={<Waiting what="the page" />}
        />
      )
  }
}

watchAddress()
listenForShortcuts()
const first = routeOf(currentAddress())
if (first.page === 'trace') loadTraceAhead(first.id)
render(<App />, document.getElementById('app')!)
