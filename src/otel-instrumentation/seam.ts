import type * as core from '../plugin'
import * as otel from './plugin'

/** tsc finds here what isn't of the same type in both implementations of `milo/plugin`. `run` is for index.ts alone. */
export const seam: Pick<typeof core, Exclude<keyof typeof otel, 'run'>> = otel
