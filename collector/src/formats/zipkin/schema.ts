import { messageTypes } from '../protobuf'

/** The fields of Zipkin's messages, version 2, in protobuf. `kind` is an index into KINDS in names.ts. */
export const ZIPKIN_TYPES = messageTypes({
  ListOfSpans: { spans: '1 Span[]' },
  Span: {
    traceId: '1 bytes',
    id: '3 bytes',
    parentId: '2 bytes',
    name: '5 string',
    kind: '4 int32',
    timestamp: '6 fixed64',
    duration: '7 uint64',
    localEndpoint: '8 Endpoint',
    remoteEndpoint: '9 Endpoint',
    annotations: '10 Annotation[]',
    tags: '11 string{}',
    debug: '12 bool',
    shared: '13 bool',
  },
  Endpoint: { serviceName: '1 string', ipv4: '2 bytes', ipv6: '3 bytes', port: '4 int32' },
  Annotation: { timestamp: '1 fixed64', value: '2 string' },
})
