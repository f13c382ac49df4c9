import { currentSettings, describe, logRarely, type Span } from 'milo/plugin'

/** Lets the application look at a call's arguments, if it has asked for that. Otherwise, no arguments are recorded. */
export function askApplication(span: Span, args: unknown[]): void {
  const hook = currentSettings()?.onRequest
  if (hook === undefined) return
  // ThriftInstrumentation's option has another name.
  const { option = 'onRequest' } = hook as { option?: string }
  try {
    const result = hook(span, args) as Partial<PromiseLike<unknown>> | undefined
    // Nobody waits for an async one, but a rejection that nobody hears of ends the process.
    if (typeof result?.then === 'function')
      result.then(undefined, error => logRarely(option, 'error', `${option} rejected: ${describe(error)}`))
  } catch (error) {
    logRarely(option, 'error', `${option} threw: ${describe(error)}`)
  }
}

export function wantsArguments(): boolean {
  return currentSettings()?.onRequest !== undefined
}
