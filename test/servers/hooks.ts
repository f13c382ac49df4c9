import './cassandra'
import './chromium'
import './hadoop'
import './mariadb'
import './postgresql'
import { removeServers } from './process'
import './python'
import './redis'
import './spark'
import { forgetShared, startShared } from './shared'

/** For mocha's --require: what the tests of a whole run share is made ready at once, and gone at the end. */

export function mochaGlobalSetup(): void {
  // Side by side, while the first tests run. A test that needs one of them waits for it, and sees its error.
  startShared()
}

export async function mochaGlobalTeardown(): Promise<void> {
  forgetShared()
  await removeServers()
}
