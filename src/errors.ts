/**
 * Every error that Milo's own API throws. `code` is stable; the message names the value and the remedy.
 * Thrown by init and by nothing else: once it runs, Milo counts and logs instead.
 */
export class MiloError extends Error {
  readonly code: MiloErrorCode
  constructor(code: MiloErrorCode, message: string) {
    super(`${code}: ${message}`)
    this.name = 'MiloError'
    this.code = code
  }
}

/** What is wrong comes from the environment: whoever deploys the application has set it, so it must not stop the application. */
export class BadVariable extends MiloError {}

export type MiloErrorCode =
  | 'MILO_BAD_OPTION'
  | 'MILO_BAD_ENABLED'
  | 'MILO_BAD_SERVICE'
  | 'MILO_BAD_SCRIBE'
  | 'MILO_BAD_EXPORT'
  | 'MILO_BAD_SAMPLER'
  | 'MILO_BAD_TARGET'
  | 'MILO_BAD_OPERATIONS'
  | 'MILO_BAD_PROPAGATION'
  | 'MILO_BAD_PLUGINS'
  | 'MILO_BAD_LOG_LEVEL'
  | 'MILO_BAD_LIMIT'
  | 'MILO_BAD_SPOOL'
  | 'MILO_BAD_RETROACTIVE'
