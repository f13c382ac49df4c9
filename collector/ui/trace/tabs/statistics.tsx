import { useMemo } from 'preact/hooks'
import { formatDuration } from '../../../src/trace'
import { serviceColors } from '../../parts/colors'
import { DurationText } from '../../parts/duration-text'
import { ServiceMark } from '../../parts/service-mark'
import { type Column, SortedTable } from '../../parts/sorted-table'
import { useUsual } from '../../parts/usual'
import { setQuery } from '../../shell/address'
import { type Group, statistics } from './statistics-groups'
import type { TabProps } from './tab-props'

/** Shows where the time went, by service or by service and name. */
export function Statistics({ trace, query }: TabProps) {
  const byName = query.get('by') !== 'service'
  const groups = useMemo(() => statistics(trace.columns, byName), [trace.tree, byName])
  const colors = useMemo(() => serviceColors(trace.head.services), [trace.head])
  const usualOf = useUsual(trace.head.services)
  const usual = (group: Group) => (byName ? usualOf(group.service, group.name) : undefined)
  const time = (
    key: keyof Group & ('total' | 'self' | 'critical' | 'p50' | 'p95' | 'max'),
    title: string,
  ): Column<Group> => ({
    key,
    title,
    value: group => group[key],
    show: group => (
      <DurationText
        us={group[key]}
        usual={key === 'p50' || key === 'p95' || key === 'max' ? usual(group) : undefined}
      />
    ),
  })
  const whole = trace.head.duration ?? 0
  const table: Column<Group>[] = [
    {
      key: 'service',
      title: 'Service',
      value: group => group.service,
      show: group => (
        <>
          <ServiceMark color={colors.get(group.service)} /> {group.service || <em>unknown</em>}
        </>
      ),
    },
    ...(byName
      ? [
          {
            key: 'name',
            title: 'Name',
            value: (group: Group) => group.name,
            show: (group: Group) => (
              <button
                type="button"
                class="link"
                title="Find these spans in the waterfall"
                onClick={() => setQuery({ tab: null, find: group.name }, { replace: false })}
              >
                {group.name || 'no name'}
              </button>
            ),
          },
        ]
      : []),
    { key: 'count', title: 'Spans', value: group => group.count, show: group => group.count.toLocaleString() },
    {
      key: 'errors',
      title: 'Errors',
      value: group => group.errors,
      show: group => (group.errors === 0 ? '0' : <span class="error-mark">{group.errors.toLocaleString()}</span>),
    },
    {
      key: 'critical',
      title: 'Critical path',
      value: group => group.critical,
      show: group => (
        <span class="share">
          <span>{formatDuration(group.critical)}</span>
          <span class="gauge" aria-hidden="true">
            <span style={{ '--length': whole === 0 ? 0 : (100 * group.critical) / whole }} />
          </span>
        </span>
      ),
    },
    time('self', 'Self time'),
    time('total', 'Total'),
    time('p50', 'Median'),
    time('p95', 'p95'),
    time('max', 'Longest'),
  ]
  return (
    <div>
      <fieldset class="choices" aria-label="Group by">
        <button type="button" aria-pressed={byName} onClick={() => setQuery({ by: null })}>
          By service and name
        </button>
        <button type="button" aria-pressed={!byName} onClick={() => setQuery({ by: 'service' })}>
          By service
        </button>
      </fieldset>
      <SortedTable
        caption={byName ? 'Spans by service and name' : 'Spans by service'}
        columns={table}
        rows={groups}
        sort={query.get('sort') ?? 'critical'}
        rowKey={group => `${group.service}\n${group.name}`}
      />
    </div>
  )
}
