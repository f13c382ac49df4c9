import '../styles/tabs.css'
import '../styles/trace.css'
import { useCallback, useEffect, useMemo } from 'preact/hooks'
import type { SettingsAnswer } from '../../src/http/answers'
import { paddedId } from '../../src/trace'
import { Boundary } from '../parts/boundary'
import { serviceColors } from '../parts/colors'
import { Failure, Notice, Waiting } from '../parts/notice'
import { setQuery } from '../shell/address'
import { useJson } from '../shell/json'
import type { Problem } from '../shell/problem'
import { nameAt, spanById, spanIdAt } from './columns'
import { errorsOf } from './errors'
import { type LoadedTrace, useTrace } from './load-trace'
import { LoadingBar } from './loading-bar'
import { missingAt, NOTHING_MISSING } from './missing'
import { NotStored } from './not-stored'
import { SpanDetail } from './span-detail'
import { TabPanel, Tabs, tabOf } from './tabs/tabs'
import { TraceHead } from './trace-head'

export function TracePage({ id, query }: { id: string; query: URLSearchParams }) {
  const loading = useTrace(id)
  const trace = loading.state === 'ready' ? loading.trace : undefined
  const name = trace && trace.columns.count > 0 ? nameAt(trace.columns, 0) : ''
  useEffect(() => {
    document.title = `${name || `Trace ${id}`} – Milo`
  }, [name, id])
  if (trace !== undefined) return <Shown trace={trace} id={id} query={query} />
  if (loading.state === 'failed') return <NotShown id={id} {...loading} />
  return <Waiting what={`trace ${id}`} />
}

function Shown({ trace, id, query }: { trace: LoadedTrace; id: string; query: URLSearchParams }) {
  const { columns, tree, head } = trace
  const asked = query.get('span')
  // Senders and people may omit leading zeros.
  const spanId = asked === null ? null : paddedId(asked.trim().toLowerCase())
  const selected = useMemo(() => (spanId === null ? -1 : spanById(columns, spanId)), [spanId, tree])
  const select = useCallback(
    (span: number) => setQuery({ span: span === -1 ? null : spanIdAt(columns, span) }),
    [columns],
  )
  const colorOf = useColors(trace)
  const errors = useMemo(() => errorsOf(columns, tree), [tree])
  const missing = useMemo(
    () => (head.kept === undefined ? NOTHING_MISSING : missingAt(columns, head.kept.missing)),
    [tree, head.kept],
  )
  const settings = useJson<SettingsAnswer>('api/settings')
  const logs = settings.state === 'ready' ? settings.value.logLink : null
  return (
    <>
      <TraceHead
        trace={trace}
        errors={errors}
        missing={missing}
        id={id}
        selected={selected}
        logs={logs}
        onSelect={select}
      />
      <LoadingBar trace={trace} />
      <Tabs id={id} query={query} />
      <div class={selected === -1 ? 'trace' : 'trace with-detail'}>
        <Boundary what="This view" of={String(query)}>
          <TabPanel
            tab={tabOf(query)}
            trace={trace}
            errors={errors}
            missing={missing}
            id={id}
            query={query}
            selected={selected}
            colorOf={colorOf}
            onSelect={select}
          />
        </Boundary>
        {selected !== -1 && (
          <Boundary what="The span" of={spanId ?? ''}>
            <SpanDetail
              trace={trace}
              errors={errors}
              missing={missing.get(selected) ?? []}
              index={selected}
              logs={logs}
              onSelect={select}
              onClose={() => select(-1)}
            />
          </Boundary>
        )}
      </div>
      {spanId !== null && selected === -1 && trace.complete && (
        <p class="hint">
          The address names the span <code>{spanId}</code>, which is not in trace <code>{head.traceId}</code>.
        </p>
      )}
    </>
  )
}

/** Returns a function from spans to indexes into the palette; −1 if the service is unknown. */
function useColors({ columns, head, tree }: LoadedTrace): (span: number) => number {
  return useMemo(() => {
    const { integers, strings } = columns
    const colors = serviceColors(head.services)
    const slots = strings.map(text => colors.get(text) ?? -1)
    return (span: number) => slots[integers.service[span]! || integers.caller[span]!] ?? -1
  }, [columns.strings.length, tree])
}

function NotShown({ id, problem, retry }: { id: string; problem: Problem; retry(): void }) {
  if (problem.status === 400) {
    return (
      <Notice page title="This is not a trace id">
        <p>{problem.message}</p>
        <p>
          <a href="./">See the newest traces</a>, or look up another id above.
        </p>
      </Notice>
    )
  }
  if (problem.status !== 404) return <Failure page title="The trace couldn't be read" problem={problem} retry={retry} />
  return <NotStored id={id} onStored={retry} />
}
