import { currentSettings, describe, ifRejected, logRarely, type Span } from 'milo/plugin'

/** Lets the application look at a call's arguments, if it has asked for that. Otherwise, no arguments are recorded. */
export function askApplication(span: Span, args: unknown[]): void {
  const hook = currentSettings()?.onRequest
  if (hook === undefined) return
  // ThriftInstrumentation's option has another name.
  const { option = 'onRequest' } = hook as { option?: string }
  try {
    ifRejected(hook(span, args), error => logRarely(option, 'error', `${option} rejected: ${describe(error)}`))
  } catch (error) {
    logRarely(option, 'error', `${option} threw: ${describe(error)}`)
  }
}

export function wantsArguments(): boolean {
  return currentSettings()?.onRequest !== undefined
}
