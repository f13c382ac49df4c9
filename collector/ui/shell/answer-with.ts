/** A worker's answer when its work failed. */
export interface Failed {
  failed: string
}

/** Called in a worker: answers each question with the result of `work`, or with its error. */
export function answerWith<Q>(work: (question: Q) => Promise<unknown>): void {
  addEventListener('message', ({ data }: MessageEvent<Q>) => {
    work(data).then(
      answer => postMessage(answer),
      error => postMessage({ failed: String(error) } satisfies Failed),
    )
  })
}
