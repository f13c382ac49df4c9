import { messageTypes } from '../protobuf'

/**
 * The fields of OTLP's trace messages in protobuf. The names are those of protobuf's JSON mapping. Enumerations are read as
 * numbers; names.ts has their names.
 */
export const OTLP_TYPES = messageTypes({
  AnyValue: {
    stringValue: '1 string?',
    boolValue: '2 bool?',
    intValue: '3 int64?',
    doubleValue: '4 double?',
    arrayValue: '5 ArrayValue?',
    kvlistValue: '6 KeyValueList?',
    bytesValue: '7 bytes?',
    stringValueStrindex: '8 int32?',
  },
  ArrayValue: { values: '1 AnyValue[]' },
  KeyValueList: { values: '1 KeyValue[]' },
  KeyValue: { key: '1 string', value: '2 AnyValue', keyStrindex: '3 int32' },

  Span: {
    traceId: '1 bytes',
    spanId: '2 bytes',
    parentSpanId: '4 bytes',
    traceState: '3 string',
    flags: '16 fixed32',
    name: '5 string',
    kind: '6 int32',
    status: '15 Status',
    startTimeUnixNano: '7 fixed64',
    endTimeUnixNano: '8 fixed64',
    attributes: '9 KeyValue[]',
    events: '11 Event[]',
    links: '13 Link[]',
    droppedAttributesCount: '10 uint32',
    droppedEventsCount: '12 uint32',
    droppedLinksCount: '14 uint32',
  },
  Status: { code: '3 int32', message: '2 string' },
  Event: {
    timeUnixNano: '1 fixed64',
    name: '2 string',
    attributes: '3 KeyValue[]',
    droppedAttributesCount: '4 uint32',
  },
  Link: {
    traceId: '1 bytes',
    spanId: '2 bytes',
    traceState: '3 string',
    flags: '6 fixed32',
    attributes: '4 KeyValue[]',
    droppedAttributesCount: '5 uint32',
  },

  ScopeSpans: { scope: '1 InstrumentationScope', schemaUrl: '3 string', spans: '2 Span[]' },
  InstrumentationScope: {
    name: '1 string',
    version: '2 string',
    attributes: '3 KeyValue[]',
    droppedAttributesCount: '4 uint32',
  },
  ResourceSpans: {
    resource: '1 Resource',
    schemaUrl: '3 string',
    scopeSpans: '2 ScopeSpans[]',
    // The name and number of scopeSpans until OTLP 0.15. The message's fields were the same.
    instrumentationLibrarySpans: '1000 ScopeSpans[]',
  },
  Resource: { attributes: '1 KeyValue[]', entityRefs: '3 EntityRef[]', droppedAttributesCount: '2 uint32' },
  EntityRef: { type: '2 string', schemaUrl: '1 string', idKeys: '3 string[]', descriptionKeys: '4 string[]' },

  ExportTraceServiceRequest: { resourceSpans: '1 ResourceSpans[]' },
  ExportTraceServiceResponse: { partialSuccess: '1 ExportTracePartialSuccess' },
  ExportTracePartialSuccess: { rejectedSpans: '1 int64', errorMessage: '2 string' },
  // google.rpc.Status: the answer to a request that fails.
  RpcStatus: { code: '1 int32', message: '2 string' },
})
