import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'

/**
 * Makes `app.close()` wait for the answers that are under way and for nothing else. Node by itself waits for a connection
 * until its keep-alive time is over, once an answer has been sent on it, and for one on which nothing has come yet, as
 * browsers and load balancers open them, until its first request is overdue.
 * @param deadlineMs after which the rest is closed unanswered
 */
export function stopWithLastAnswer(app: FastifyInstance, deadlineMs: number): void {
  const { server } = app
  // With TLS, both a connection and the encrypted one within it.
  const sockets = new Set<Socket>()
  let stopping = false
  for (const event of ['connection', 'secureConnection']) {
    server.on(event, (socket: Socket) => {
      if (stopping) socket.destroy()
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
    })
  }
  app.addHook('onSend', async (_request, reply) => {
    if (stopping) reply.header('connection', 'close')
  })
  // An answer whose headers had been sent before the stop.
  app.addHook('onResponse', async () => {
    if (stopping) server.closeIdleConnections()
  })
  app.addHook('preClose', async () => {
    stopping = true
    for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy()
    const timer = setTimeout(() => {
      for (const socket of sockets) socket.destroy()
    }, deadlineMs)
    server.once('close', () => clearTimeout(timer))
  })
}
