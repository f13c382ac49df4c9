import { isActive, type Plugin, type PluginHandle } from 'milo/plugin'
import { isSampled, takeRoute } from './http'

/** koa: the span of a request has the name of its route, which the router has with the prefixes of all routers that it is nested in. */
export const koa: Plugin = {
  name: 'koa',
  patches: [
    { module: '@koa/router', versions: '>=8 <16', patch },
    { module: 'koa-router', versions: '>=7.4 <15', patch },
  ],
}

function patch(exports: any, plugin: PluginHandle): void {
  const { prototype } = exports.Router ?? exports.default ?? exports
  // Two names of one function, or one of them calls the other.
  const names = prototype.routes === prototype.middleware ? ['routes', 'middleware'] : ['middleware']
  for (const name of names) {
    plugin.intercept(prototype, name, (original, self, args) => {
      const dispatch = original.apply(self, args)
      return plugin.imitate(dispatch, function (this: unknown, context: any, ...rest: unknown[]) {
        const result = dispatch.call(this, context, ...rest)
        try {
          if (plugin.enabled && isActive() && isSampled(context.res)) seeRoute(context)
        } catch (error) {
          plugin.fail(error)
        }
        return result
      })
    })
  }
}

/** Of the layers that match the path, the last one that has the method is the route; those of middleware have none. */
function seeRoute(context: any): void {
  if (context._matchedRoute === undefined) return
  const route = context.matched?.findLast(({ methods }: any) => methods?.includes(context.method))
  if (route !== undefined) takeRoute(context.res, String(route.path))
}
