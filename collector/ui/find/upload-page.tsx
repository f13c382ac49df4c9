import { useEffect } from 'preact/hooks'
import { Upload } from './upload'

/** Takes a file with traces, and says how a program does the same. */
export function UploadPage() {
  useEffect(() => {
    document.title = 'Upload a trace – Milo'
  }, [])
  const api = new URL('api/traces', document.baseURI).href
  return (
    <section class="notice">
      <h1>Upload a trace</h1>
      <p>
        Choose a file, or drop one anywhere on this page: JSON of Milo, OpenTelemetry, Zipkin or Jaeger, as one document
        or one on each line, gzipped or not. Its spans are stored like those that services send.
      </p>
      <Upload />
      <p>From a command line:</p>
      <pre>
        <code>curl --data-binary @trace.json {api}</code>
      </pre>
      <p>
        To find traces that are stored already, <a href="search">search</a>.
      </p>
    </section>
  )
}
