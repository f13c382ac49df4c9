import type { ExportCollectorsAnswer, StatusAnswer } from '../../src/http/answers'
import { Notice } from '../parts/notice'
import { shortLocalTime } from '../parts/time'
import { useJson } from '../shell/json'

const HOUR_US = 3_600e6
/** As long after an hour's end spans of it may still be stored. */
const MARGIN_US = 120e6

/** Tells how to make the first analysis; shown while there is none. */
export function FirstAnalysis() {
  const status = useJson<StatusAnswer>('api/status')
  const hours = useJson<ExportCollectorsAnswer>('api/export/collectors')
  const isTooEarly = hours.state === 'ready' && !hours.value.collectors.some(hasWholeHour)
  const nextUs = Math.floor((Date.now() * 1000) / HOUR_US) * HOUR_US + HOUR_US + MARGIN_US
  const needsToken = status.state === 'ready' && status.value.auth !== 'none'
  const web = new URL('.', document.baseURI).href
  return (
    <Notice title="Nothing is analysed yet">
      <p>
        An analysis reads all traces of some hours, and not a sample: where their time went, what made them slower than
        before, which are strange, and whose spans are broken. It runs beside the collector: on any machine with Milo,
        or on Hadoop or Spark. For the last 24 hours:
      </p>
      {isTooEarly && (
        <p>
          <strong>There is nothing to export yet:</strong> hours are exported when they are over, the one that is
          running from {shortLocalTime(nextUs)} on.
        </p>
      )}
      <ol class="steps">
        <li>
          <strong>Export</strong> what was accepted, also an hour before and after:
          <pre>
            <code>{`milo-collector export --hours -25h..now --from ${web} --to ./traces`}</code>
          </pre>
        </li>
        <li>
          <strong>Analyse</strong> it:
          <pre>
            <code>{`cat traces/2*.tsv | milo-collector map | LC_ALL=C sort \\
  | milo-collector reduce --hours -24h..now | milo-collector reduce --merge > results.jsonl`}</code>
          </pre>
        </li>
        <li>
          <strong>Load</strong> the results:
          <pre>
            <code>{`milo-collector load --to ${web} results.jsonl`}</code>
          </pre>
        </li>
      </ol>
      {needsToken && (
        <p>
          This collector requires credentials: put a token of the scope <code>read</code> into{' '}
          <code>MILO_EXPORT_TOKEN</code>, and one of the scope <code>ingest</code> into <code>MILO_LOAD_TOKEN</code>.
        </p>
      )}
      <p>
        Then <a href="analysis">reload</a> this page. A second time, such as the day before, shows what has changed.
      </p>
    </Notice>
  )
}

function hasWholeHour({ fromUs, toUs }: ExportCollectorsAnswer['collectors'][number]): boolean {
  return Math.ceil(fromUs / HOUR_US) * HOUR_US + HOUR_US <= toUs
}
