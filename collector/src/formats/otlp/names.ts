/**
 * Names for the conversion of OpenTelemetry's traces (OTLP's protobuf and JSON) into records and back. Nothing is lost:
 * attributes become annotations with the same keys, each span repeats the data of its resource and scope, and data that has no
 * field in a record goes to annotations and counters whose names begin with `otel.`. docs/wire-format.md has the whole table.
 */

export const KINDS = ['unspecified', 'internal', 'server', 'client', 'producer', 'consumer']
export const STATUS = ['UNSET', 'OK', 'ERROR']
export const ERROR = 2
/** Names of annotations and counters that are ours. An attribute with such a name is kept in `otel.more`. */
export const OURS = {
  kind: 'otel.kind',
  // OpenTelemetry uses these names in other formats.
  statusCode: 'otel.status_code',
  statusDescription: 'otel.status_description',
  scopeName: 'otel.scope.name',
  scopeVersion: 'otel.scope.version',
  scopeAttributes: 'otel.scope.attributes',
  scopeSchemaUrl: 'otel.scope.schema_url',
  resourceTypes: 'otel.resource_types',
  resourceMore: 'otel.resource_more',
  resourceSchemaUrl: 'otel.resource_schema_url',
  resourceEntities: 'otel.resource_entity_refs',
  types: 'otel.types',
  more: 'otel.more',
  events: 'otel.events',
  links: 'otel.links',
  traceState: 'otel.trace_state',
  flags: 'otel.flags',
  droppedAttributes: 'otel.dropped_attributes_count',
  droppedEvents: 'otel.dropped_events_count',
  droppedLinks: 'otel.dropped_links_count',
  resourceDroppedAttributes: 'otel.resource_dropped_attributes_count',
  scopeDroppedAttributes: 'otel.scope.dropped_attributes_count',
  startNs: 'otel.start_ns',
  endNs: 'otel.end_ns',
} as const
export const RESOURCE = 'otel.resource.'
/** The event's index follows this prefix. */
export const EVENT_NS = 'otel.event_ns.'
export const OUR_NAMES = new Set<string>(Object.values(OURS))

export function isOurs(key: string): boolean {
  return key.startsWith('otel.') && (OUR_NAMES.has(key) || key.startsWith(RESOURCE) || key.startsWith(EVENT_NS))
}
