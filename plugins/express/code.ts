import { isActive, type PluginHandle } from 'milo/plugin'

/** What the plugin for HTTP offers. */
interface Requests {
  isRecording(res: object): boolean
  takeRoute(res: object, route: string | undefined): void
}

type Next = (...args: unknown[]) => unknown

/** The path that a layer was made with: a string, a regular expression, or an array of these. Express keeps what it matched alone. */
const paths = new WeakMap<object, unknown>()
/** Where the router is mounted in which a request is, by its response. */
const mounts = new WeakMap<object, string>()

/**
 * Whether a response has begun. Then the route that it came from is the request's: middleware and routes that are called after it, for a log
 * or because they match as well, answer nothing.
 */
const isAnswered = (res: object): boolean => (res as { headersSent?: boolean }).headersSent === true

/**
 * A layer is what a router has for each route, middleware and router below it. When one lets go of a request by `next`, the request is
 * again where it was before, except that an error leaves the route that it arose in.
 */
export function patchLayer(Layer: any, plugin: PluginHandle, requests: Requests): unknown {
  plugin.wrap(
    Layer.prototype,
    typeof Layer.prototype.handleRequest === 'function' ? 'handleRequest' : 'handle_request',
    original =>
      function (this: any, req, res, next) {
        let leave = next
        if (plugin.enabled && isActive() && requests.isRecording(res)) {
          try {
            leave = enter(this, res, next, requests)
          } catch (error) {
            plugin.fail(error)
          }
        }
        return original.call(this, req, res, leave)
      },
  )
  function TracedLayer(path: unknown, options: unknown, handle: unknown) {
    const layer = new Layer(path, options, handle)
    paths.set(layer, path)
    return layer
  }
  return plugin.imitate(Layer, TracedLayer)
}

function enter(layer: any, res: object, next: Next, { takeRoute }: Requests): Next {
  const path = paths.get(layer)
  const mount = mounts.get(res) ?? ''
  if (layer.route !== undefined) {
    if (isAnswered(res)) return next
    takeRoute(res, join(mount, path) || '/')
    return (...args) => {
      const isError = args[0] && args[0] !== 'route' && args[0] !== 'router'
      if (!isError && !isAnswered(res)) takeRoute(res, undefined)
      return next(...args)
    }
  }
  // Middleware for all paths.
  if (path === '/' || path === undefined) return next
  mounts.set(res, join(mount, path))
  return (...args) => {
    mounts.set(res, mount)
    return next(...args)
  }
}

function join(mount: string, path: unknown): string {
  const below = Array.isArray(path) ? path.flat(Number.POSITIVE_INFINITY).join(',') : String(path)
  if (below === '/' || below === '') return mount
  return `${mount.replace(/\/$/, '')}${typeof path !== 'string' || below.startsWith('/') ? '' : '/'}${below}`
}
