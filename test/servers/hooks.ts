import { startCassandra } from './cassandra'
import { chromiumPath } from './chromium'
import { startMariaDb } from './mariadb'
import { removeServers } from './process'
import { pythonWithThrift } from './python'

/** For mocha's --require: what the tests of a whole run share is made ready at once, and gone at the end. */

export function mochaGlobalSetup(): void {
  // Side by side, while the first tests run. Whoever needs one of them waits for it, and sees its error.
  for (const start of [startMariaDb, startCassandra, pythonWithThrift, chromiumPath]) start().catch(() => {})
}

export async function mochaGlobalTeardown(): Promise<void> {
  await removeServers()
}
