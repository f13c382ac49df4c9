import { BadInput, type Spans } from './fields'
import { readMiloJson } from './milo-json'
import { readOtlpJson } from './otlp'
import { readZipkinJson } from './zipkin'
import { readZipkinV1Json } from './zipkin-v1'

/**
 * A trace as somebody uploads it, in whichever of the three forms it is.
 * @param json what JSON.parse made of the body
 * @throws BadInput when it is none of them
 */
export function detectAndRead(json: unknown): Spans {
  if (Array.isArray(json)) return json.some(isVersion1) ? readZipkinV1Json(json) : readZipkinJson(json)
  const has = (field: string) => typeof json === 'object' && json !== null && Object.hasOwn(json, field)
  if (has('records')) return readMiloJson(json)
  if (has('resourceSpans')) return readOtlpJson(json)
  if (has('traceId') && has('spans')) {
    throw new BadInput('this is a trace as it is drawn, without its records: give what ?form=records answers')
  }
  throw new BadInput(
    "neither Milo's records ({ records: [...] }), nor OTLP's JSON ({ resourceSpans: [...] }), nor Zipkin's (a list of spans)",
  )
}

/** Version 2 has no binary annotations, and no endpoint in an annotation. */
function isVersion1(span: any): boolean {
  const { annotations, binaryAnnotations } = span ?? {}
  if (Array.isArray(binaryAnnotations)) return true
  return Array.isArray(annotations) && annotations.some(annotation => annotation?.endpoint !== undefined)
}
