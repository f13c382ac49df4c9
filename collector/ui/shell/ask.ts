import { requestHeaders } from './credentials'
import { problemFrom, problemOf } from './problem'

/** How long the collector may be silent before and during its answer. The collector's own deadlines are shorter. */
const SILENCE_MS = 60_000
/** The assumed speed of the slowest upload. */
const UPLOAD_BYTES_PER_MS = 20

/**
 * Sends a request for the page or one of its workers. Rejects after a silence, so that nothing waits forever.
 * @param token passed in, because a worker has no storage to read it from
 * @returns a successful response; reading its body also fails after a silence
 * @throws Problem
 */
export async function ask(url: string, token: string | null, options: RequestInit = {}): Promise<Response> {
  const { signal, body, headers } = options
  const silence = new AbortController()
  let timer: ReturnType<typeof setTimeout>
  const wait = (ms: number) => {
    clearTimeout(timer)
    timer = setTimeout(() => silence.abort(), ms)
  }
  wait(SILENCE_MS + (body instanceof Blob ? body.size / UPLOAD_BYTES_PER_MS : 0))
  try {
    const response = await fetch(url, {
      ...options,
      headers: { ...requestHeaders(token), ...headers },
      signal: signal ? AbortSignal.any([signal, silence.signal]) : silence.signal,
    })
    // A Response with status 204 can't be constructed with a body, and Chromium's response has an empty one.
    if (response.status === 204) {
      clearTimeout(timer!)
      return response
    }
    wait(SILENCE_MS)
    const heard = new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        wait(SILENCE_MS)
        controller.enqueue(chunk)
      },
      flush: () => clearTimeout(timer),
    })
    const answer = new Response(response.body?.pipeThrough(heard), response)
    if (!answer.ok) throw problemOf(answer.status, await answer.json().catch(() => undefined))
    return answer
  } catch (error) {
    clearTimeout(timer!)
    throw problemFrom(error)
  }
}

/** @throws Problem */
export async function askJson<T>(url: string, token: string | null, options?: RequestInit): Promise<T> {
  const answer = await ask(url, token, options)
  if (answer.status === 204) return undefined as T
  return answer.json().catch(error => {
    throw problemFrom(error)
  })
}
