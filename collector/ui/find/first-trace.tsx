import { Notice } from '../parts/notice'

/** Tells how to send the first trace; shown while the collector is empty. */
export function FirstTrace() {
  return (
    <Notice title="No traces yet">
      <p>This collector is running and waits for its first trace. To send one:</p>
      <ol class="steps">
        <li>
          From Milo's repository, run the example shop:
          <pre>
            <code>npm run demo</code>
          </pre>
        </li>
        <li>
          Or start your own application that uses Thrift or HTTP, without changing its code:
          <pre>
            <code>node -r milo/register app.js</code>
          </pre>
          It sends spans to 127.0.0.1:1463; set <code>MILO_SCRIBE=host:port</code> if this collector listens elsewhere.
        </li>
      </ol>
      <p>
        Then <a href="search">reload</a> this page. A trace can be found within a second after it arrives.
      </p>
    </Notice>
  )
}
