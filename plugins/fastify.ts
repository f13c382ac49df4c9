import { isActive, type Plugin } from 'milo/plugin'
import { isRecording, takeRoute } from './http'

/**
 * fastify: the span of a request has the name of its route. That is known where the route is registered with find-my-way, fastify's
 * router, whichever way it takes to the handler.
 */
export const fastify: Plugin = {
  name: 'fastify',
  patches: [
    {
      module: 'find-my-way',
      versions: '>=5 <10',
      sign: /The default route must be a [f]unction/,
      patch(Router, plugin) {
        plugin.intercept(Router.prototype, 'on', (original, self, args) =>
          original.apply(
            self,
            args.map(handler => {
              if (typeof handler !== 'function') return handler
              return plugin.imitate(handler, function (this: unknown, ...given: any[]) {
                try {
                  // Fastify's store; others have no such thing in theirs. Requests without a route have a handler without a path.
                  const path = given[3]?.config?.url
                  if (typeof path === 'string' && plugin.enabled && isActive() && isRecording(given[1]))
                    takeRoute(given[1], path)
                } catch (error) {
                  plugin.fail(error)
                }
                return handler.apply(this, given)
              })
            }),
          ),
        )
      },
    },
  ],
}
