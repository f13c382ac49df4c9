import type { FastifyReply } from 'fastify'
import { HttpError } from '../../http/errors'
import { Turns } from '../../turns'

/** Turns of work that ends when the client has gone. */
export function clientTurns(reply: FastifyReply): Turns {
  return new Turns(() => {
    if (reply.raw.destroyed) throw new HttpError(503, 'MILO_CLIENT_GONE', 'the client has closed the connection')
  })
}
