import * as testing from '../../src/testing'

/** milo/testing's, with the time that a loaded machine may take. */
export const ended = (count: number): Promise<testing.TestSpan[]> => testing.ended(count, 30_000)
