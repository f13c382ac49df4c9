import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { LoadAnswer } from '../../http/answers'
import { HttpError, sendError, tryLater } from '../../http/errors'
import { unzipped } from '../../receive/unzipped'
import { LoadMaker } from '../../store/analysis/load'
import { type Analyses, type Load, windowId } from '../../store/analysis/model'
import { BadResults } from '../../store/analysis/result-reader'
import type { AskStore } from '../ask-store'

/** POST /api/analysis takes the results of one window, as `milo-collector reduce --merge` writes them, gzipped or not. */
export async function takeResults(app: FastifyInstance, { askStore }: { askStore: AskStore<Analyses> }): Promise<void> {
  /** One at a time: a load is in memory until it is whole. */
  let loading = false

  // The body is read as it comes.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
  app.addHook('onRequest', async ({ raw }) => {
    if (!raw.headers['content-type']) raw.headers['content-type'] = 'application/x-ndjson'
  })
  app.post('/api/analysis', { config: { takesSpans: true } }, async ({ raw }, reply) => {
    try {
      if (loading) throw tryLater(429, 'other results are being loaded')
      loading = true
      try {
        const { results, ...load } = await receive(raw)
        await askStore(store => store.saveAnalysis(load))
        return { window: windowId(load), from: load.fromUs, to: load.toUs, results } satisfies LoadAnswer
      } finally {
        loading = false
      }
    } catch (error) {
      // A sender that isn't heard to the end doesn't hear the answer.
      raw.resume()
      return refuse(reply, error)
    }
  })
}

async function receive(raw: IncomingMessage): Promise<Load & { results: number }> {
  const maker = new LoadMaker('the body')
  for await (const chunk of unzipped(raw)) await maker.add(chunk)
  return maker.finish(Date.now() * 1000)
}

function refuse(reply: FastifyReply, error: unknown): FastifyReply {
  const { code, message } = error as NodeJS.ErrnoException
  if (error instanceof BadResults) return sendError(reply, new HttpError(400, 'MILO_BAD_RESULTS', error.message))
  if (/^(Z_|ERR_STREAM|ECONNRESET|ERR_BUFFER)/.test(code ?? '')) {
    return sendError(
      reply,
      new HttpError(400, 'MILO_BAD_BODY', `the body can't be read: ${message}; nothing of it is stored`),
    )
  }
  return sendError(reply, error)
}
