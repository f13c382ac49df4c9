import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, get, type RequestListener, type Server } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { express } from '../../plugins/express'
import { fastify } from '../../plugins/fastify'
import { http } from '../../plugins/http'
import { koa } from '../../plugins/koa'
import { install } from '../../src/patch/hook'
import { start, stop } from '../../src/testing'
import { ended } from '../helpers/ended'
import { npmPackages } from '../servers/npm'

/** The names that servers' spans have by the routes of frameworks, at their oldest and newest versions. */

/** Requests, and the span's name, its http.route if it has one, and the status. */
type Expected = Record<string, [string, string | undefined, number]>

async function load(...packages: string[]): Promise<any> {
  const require = createRequire(join(await npmPackages(...packages), 'app.js'))
  return packages.map(one => require(one.replace(/(.)@.*/, '$1')))
}

/** koa and its router as ES modules have them. */
async function imported(...packages: string[]): Promise<any> {
  const modules = join(await npmPackages(...packages), 'node_modules')
  // Node's own import: tsx would make it a require.
  const load = new Function('url', 'return import(url)')
  const files = ['koa/dist/koa.mjs', '@koa/router/dist/index.mjs']
  return Promise.all(files.map(async file => (await load(pathToFileURL(join(modules, file)))).default))
}

describe('the routes of', function () {
  this.timeout(120_000)
  let server: Server | undefined

  before(() => {
    start({ logLevel: 'error' })
    install([http, express, fastify, koa])
  })

  beforeEach(() => {
    start()
  })

  afterEach(async () => {
    server?.closeAllConnections()
    server?.close()
    stop()
  })

  async function check(listener: RequestListener, expected: Expected): Promise<void> {
    server = createServer(listener).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    for (const [request, [name, route, status]] of Object.entries(expected)) {
      start()
      const [method, path] = request.split(' ')
      const req = get({ port, host: '127.0.0.1', path, method, agent: false })
      const [res] = await once(req, 'response')
      res.resume()
      const spans = await ended(2)
      const found = spans.find(one => one.kind === 'server')!
      assert.deepEqual(
        [found.name, found.annotations['http.route'], Number(found.annotations['http.response.status_code'])],
        [name, route, status],
        request,
      )
    }
  }

  for (const version of ['4.8.0', '4.22.1', '5.3.0']) {
    it(`express ${version} name spans: parameters, nested routers, mounted applications, errors, and nothing else`, async () => {
      const [make] = await load(`express@${version}`)
      const app = make()
      const answer = (_req: unknown, res: any) => res.end()
      const orders = make.Router({ mergeParams: true })
      orders.get('/', answer)
      orders.get('/:order', answer)
      orders.get('/:order/broken', () => {
        throw new Error('broken')
      })
      const users = make.Router()
      users.use('/:user/orders', orders)
      users.use((_req: unknown, _res: unknown, next: () => void) => next())
      users.get('/:user', answer)
      const admin = make()
      admin.get('/', answer)
      admin.get('/jobs/:job', answer)
      app.use((_req: unknown, _res: unknown, next: () => void) => next())
      app.use('/users', users)
      app.use('/admin', admin)
      app.use('/static', (req: any, res: any, next: () => void) => (req.url === '/x' ? res.end() : next()))
      app.get('/', answer)
      app.get('/skip/:a', (_req: unknown, _res: unknown, next: () => void) => next())
      app.get('/skip/:b', (_req: unknown, _res: unknown, next: (how: string) => void) => next('route'))
      app.get('/two/:a', (_req: unknown, _res: unknown, next: () => void) => next())
      app.get(['/two/:b', '/deux/:b'], answer)
      app.route('/posts/:id').post(answer)
      app.get(/^\/files\/\d+/, answer)
      app.get('/later/:id', (_req: unknown, _res: unknown, next: (error: Error) => void) =>
        setImmediate(next, new Error('later')),
      )
      // Each answers and lets go of the request afterwards, for middleware that keeps a log, and for routes that match as well.
      app.get('/answered/:id', (_req: unknown, res: any, next: () => void) => {
        res.end('x')
        next()
      })
      app.get('/finished/:id', (_req: unknown, res: any, next: () => void) => {
        res.on('finish', next)
        res.end('x')
      })
      app.get('/piped/:id', (_req: unknown, res: any, next: () => void) => {
        res.write('x')
        next()
        setImmediate(() => res.end())
      })
      const own = make.Router()
      own.get('/answered/:id', (_req: unknown, res: any, next: () => void) => {
        res.end('x')
        next()
      })
      app.use('/own', own)
      app.get('/second/:a', (_req: unknown, _res: unknown, next: () => void) => next())
      app.get('/second/:b', (_req: unknown, res: any, next: () => void) => {
        res.end('x')
        setImmediate(next)
      })
      app.get(/./, (req: any, _res: unknown, next: () => void) => {
        if (!/^\/(answered|finished|piped|own|second)\//.test(req.url)) next()
      })
      app.use((_error: unknown, _req: unknown, res: any, _next: unknown) => {
        res.statusCode = 500
        res.end()
      })
      await check(app, {
        'GET /': ['GET /', '/', 200],
        'GET /users/42': ['GET /users/:user', '/users/:user', 200],
        'HEAD /users/42': ['HEAD /users/:user', '/users/:user', 200],
        'GET /users/42/orders?x=1': ['GET /users/:user/orders', '/users/:user/orders', 200],
        'GET /users/42/orders/7': ['GET /users/:user/orders/:order', '/users/:user/orders/:order', 200],
        'GET /users/42/orders/7/broken': [
          'GET /users/:user/orders/:order/broken',
          '/users/:user/orders/:order/broken',
          500,
        ],
        'GET /admin': ['GET /admin', '/admin', 200],
        'GET /admin/jobs/3': ['GET /admin/jobs/:job', '/admin/jobs/:job', 200],
        'GET /static/x': ['GET /static/x', undefined, 200],
        'GET /static/y': ['GET /static/y', undefined, 404],
        'GET /skip/secret': ['GET /skip/secret', undefined, 404],
        'GET /two/x': ['GET /two/:b,/deux/:b', '/two/:b,/deux/:b', 200],
        'POST /posts/9': ['POST /posts/:id', '/posts/:id', 200],
        'GET /posts/9': ['GET /posts/*', undefined, 404],
        'GET /files/12': ['GET /^\\/files\\/\\d+/', '/^\\/files\\/\\d+/', 200],
        'GET /later/5': ['GET /later/:id', '/later/:id', 500],
        'GET /answered/joe': ['GET /answered/:id', '/answered/:id', 200],
        'GET /finished/joe': ['GET /finished/:id', '/finished/:id', 200],
        'GET /piped/joe': ['GET /piped/:id', '/piped/:id', 200],
        'GET /own/answered/joe': ['GET /own/answered/:id', '/own/answered/:id', 200],
        'GET /second/joe': ['GET /second/:b', '/second/:b', 200],
        'GET /nowhere/1': ['GET /nowhere/*', undefined, 404],
      })
    })
  }

  for (const version of ['4.0.0', '5.12.8']) {
    it(`fastify ${version} name spans: parameters, prefixes, hooks that answer, errors, and nothing else`, async () => {
      const [make] = await load(`fastify@${version}`)
      let handle: RequestListener | undefined
      const app = make({
        serverFactory: (listener: RequestListener) => {
          handle = listener
          return createServer(listener)
        },
      })
      app.addHook('onRequest', async (request: any, reply: any) => {
        if (request.headers['x-no'] || request.url.endsWith('no')) return reply.code(401).send('no')
      })
      app.get('/', async () => 'ok')
      app.get('/users/:user', async () => 'ok')
      app.register(
        async (own: any) => {
          own.get('/orders/:order', async () => 'ok')
          own.get('/broken/:id', async () => {
            throw new Error('broken')
          })
        },
        { prefix: '/api/:tenant' },
      )
      await app.ready()
      await check(handle!, {
        'GET /': ['GET /', '/', 200],
        'GET /users/42': ['GET /users/:user', '/users/:user', 200],
        'GET /users/no': ['GET /users/:user', '/users/:user', 401],
        'GET /api/acme/orders/7': ['GET /api/:tenant/orders/:order', '/api/:tenant/orders/:order', 200],
        'GET /api/acme/broken/7': ['GET /api/:tenant/broken/:id', '/api/:tenant/broken/:id', 500],
        'GET /nowhere/1': ['GET /nowhere/*', undefined, 404],
        'POST /users/42': ['POST /users/*', undefined, 404],
      })
      await app.close()
    })
  }

  for (const [how, ...packages] of [
    ['', 'koa@2.0.0', 'koa-router@7.4.0'],
    ['', 'koa@2.16.1', '@koa/router@8.0.0'],
    ['', 'koa@3.3.0', '@koa/router@15.7.0'],
    [', as ES modules,', 'koa@3.3.0', '@koa/router@15.7.0'],
  ] as const) {
    it(`${packages.join(' with ')}${how} name spans: parameters, nested routers, several routers, errors, and nothing else`, async () => {
      const [Koa, Router] = await (how === '' ? load(...packages) : imported(...packages))
      const app = new Koa()
      app.silent = true
      const answer = (context: any) => {
        context.body = 'ok'
      }
      const orders = new Router({ prefix: '/orders' })
      orders.get('/:order', answer)
      orders.get('/:order/broken', () => {
        throw new Error('broken')
      })
      const users = new Router({ prefix: '/users' })
      users.use(async (_context: unknown, next: () => Promise<void>) => next())
      // Two routes match this one. Routers before @koa/router 9 don't say which one has been called.
      const tellsCalled = /router@(9|1\d)/.test(packages[1])
      if (tellsCalled) users.get('/me', answer)
      users.get('/:user', answer)
      users.get('/:user/none', () => {})
      users.use('/:user', orders.routes(), orders.allowedMethods())
      const root = new Router()
      root.get('/', answer)
      root.get(/^\/files\/\d+$/, answer)
      app.use(async (_context: unknown, next: () => Promise<void>) => next())
      app.use(users.routes())
      app.use(root.middleware())
      await check(app.callback(), {
        'GET /': ['GET /', '/', 200],
        'GET /users/42': ['GET /users/:user', '/users/:user', 200],
        'HEAD /users/42': ['HEAD /users/:user', '/users/:user', 200],
        ...(tellsCalled && { 'GET /users/me': ['GET /users/me', '/users/me', 200] }),
        'GET /users/42/none': ['GET /users/:user/none', '/users/:user/none', 404],
        'GET /users/42/orders/7': ['GET /users/:user/orders/:order', '/users/:user/orders/:order', 200],
        'GET /users/42/orders/7/broken': [
          'GET /users/:user/orders/:order/broken',
          '/users/:user/orders/:order/broken',
          500,
        ],
        'POST /users/42': ['POST /users/*', undefined, 404],
        'GET /files/12': ['GET /^\\/files\\/\\d+$/', '/^\\/files\\/\\d+$/', 200],
        'GET /nowhere/1': ['GET /nowhere/*', undefined, 404],
      })
    })
  }
})
