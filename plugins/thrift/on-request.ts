import { currentSettings, describe, logRarely, type Span } from 'milo/plugin'

/** Lets the application look at a call's arguments, if it has asked for that. Otherwise, no arguments are recorded. */
export function askApplication(span: Span, args: unknown[]): void {
  const hook = currentSettings()?.onRequest
  if (hook === undefined) return
  try {
    hook(span, args)
  } catch (error) {
    logRarely('onRequest', 'error', `onRequest threw: ${describe(error)}`)
  }
}

export function wantsArguments(): boolean {
  return currentSettings()?.onRequest !== undefined
}
