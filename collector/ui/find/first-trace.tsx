import { useState } from 'preact/hooks'
import type { StatusAnswer } from '../../src/http/answers'
import { Notice } from '../parts/notice'
import { useJson } from '../shell/json'

/** Tells how to send the first trace to this collector; shown while it is empty. */
export function FirstTrace() {
  const status = useJson<StatusAnswer>('api/status')
  const known = status.state === 'ready' ? status.value : undefined
  const web = new URL('.', document.baseURI).href.replace(/\/$/, '')
  const scribe = known?.scribe[0]
  const [example] = useState(() => zipkinExample(`${web}/api/v2/spans`))
  return (
    <Notice title="No traces yet">
      <p>
        This collector is running and waits for its first trace. It listens{' '}
        {scribe && (
          <>
            for Scribe's messages on <code>{addressOf(scribe)}</code>, and{' '}
          </>
        )}
        for OpenTelemetry's and Zipkin's spans on <code>{web}</code>. To send one:
      </p>
      <ol class="steps">
        <li>
          <strong>With Milo</strong>, start an application that uses Thrift or HTTP; its code stays as it is:
          <pre>
            <code>MILO_SCRIBE={scribe ? addressOf(scribe) : 'host:port'} node -r milo/register app.js</code>
          </pre>
        </li>
        <li>
          <strong>With OpenTelemetry</strong>, in any language, tell its SDK where to send, and how:
          <pre>
            <code>{`export OTEL_EXPORTER_OTLP_ENDPOINT=${web}\nexport OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf`}</code>
          </pre>
        </li>
        <li>
          <strong>With Zipkin</strong>'s reporters, give this endpoint; curl shows at once that it works:
          <pre>
            <code>{example}</code>
          </pre>
        </li>
      </ol>
      {known !== undefined && known.auth !== 'none' && (
        <p>
          This collector requires credentials: senders over HTTP need a token of the scope <code>ingest</code>, in the
          header <code>authorization: Bearer …</code>.
        </p>
      )}
      <p>
        Or <a href="upload">upload a file</a> with traces; in Milo's repository, <code>npm run demo</code> shows a whole
        shop. Then <a href="search">reload</a> this page. A trace can be found within a second after it arrives.
      </p>
    </Notice>
  )
}

/** As senders on other machines reach it, as far as the page knows. */
function addressOf({ host, port }: { host: string; port: number }): string {
  const name = /^(0\.0\.0\.0|::)$/.test(host) ? location.hostname : host
  return `${name.includes(':') && !name.startsWith('[') ? `[${name}]` : name}:${port}`
}

function zipkinExample(url: string): string {
  const ids = crypto.getRandomValues(new Uint8Array(8))
  const id = [...ids].map(byte => byte.toString(16).padStart(2, '0')).join('')
  const span = {
    ...{ traceId: id, id, name: 'hello', kind: 'SERVER' },
    ...{ timestamp: Date.now() * 1000, duration: 5000, localEndpoint: { serviceName: 'curl' } },
  }
  return `curl -H 'content-type: application/json' -d '[${JSON.stringify(span)}]' \\\n  ${url}`
}
