import { parse } from 'node:path'

/**
 * Names of services, from generated code: its classes are often anonymous, but each of its methods creates the struct of
 * its arguments, `new Calculator_add_args(…)`, which names the service that declares it, inherited ones too.
 */
const known = new WeakMap<Function, string | undefined>()

/** The service that declares `method`, by the source of its send_X or process_X. Undefined when it doesn't say. */
export function serviceOf(generated: unknown, method: string): string | undefined {
  if (typeof generated !== 'function') return undefined
  if (known.has(generated)) return known.get(generated)
  const source = Function.prototype.toString.call(generated)
  const match = /new\s+(?:\w+\.)?(\w+)_args\b/.exec(source)?.[1]
  const service = match?.endsWith(`_${method}`) ? match.slice(0, -method.length - 1) : undefined
  known.set(generated, service)
  return service
}

/** Notes the service of code that stands in for generated code. */
export function remember(generated: Function, service: string | undefined): void {
  known.set(generated, service)
}

/**
 * Code of thrift-typescript doesn't say: it has a file for each service.
 * @param generated the client's or the processor's prototype
 */
export function nameAfterFile(generated: object, prefix: string, file: string): void {
  const service = parse(file).name
  if (!/^[A-Za-z_]\w*$/.test(service) || service === 'index') return
  for (const name of Object.getOwnPropertyNames(generated)) {
    const method = Object.getOwnPropertyDescriptor(generated, name)!.value
    if (typeof method !== 'function' || !name.startsWith(prefix)) continue
    if (serviceOf(method, name.slice(prefix.length)) === undefined) remember(method, service)
  }
}

/** A method's name and annotations, which are the same in every call. */
export interface Operation {
  /** `Service.method`, or the method alone. */
  name: string
  annotations: string[]
}

/**
 * The keys are those of OpenTelemetry's semantic conventions before 1.38.
 * @param unknown whether the service has no such method, and its name is what the caller says
 */
export function operation(service: string | undefined, method: string, oneway: boolean, unknown = false): Operation {
  const annotations = ['rpc.system', 'thrift', 'rpc.method', method.slice(0, 256)]
  if (service !== undefined) annotations.push('rpc.service', service.slice(0, 256))
  if (oneway) annotations.push('thrift.oneway', 'true')
  if (unknown) annotations.push('thrift.unknown_method', 'true')
  return { name: (service === undefined ? method : `${service}.${method}`).slice(0, 256), annotations }
}
