import { AsyncResource } from 'node:async_hooks'

/**
 * A context of Milo's. Tools that list what keeps a process alive (jest's --detectOpenHandles, why-is-node-running) call `hasRef()`, and count a resource that
 * has none.
 */
export class Resource extends AsyncResource {
  hasRef(): boolean {
    return false
  }
}
