/** What a worker answers that can't do its work. */
export interface Failed {
  failed: string
}

/** Within a worker: answers each question with what `work` gives, or with why it couldn't. */
export function answerWith<Q>(work: (question: Q) => Promise<unknown>): void {
  addEventListener('message', ({ data }: MessageEvent<Q>) => {
    work(data).then(
      answer => postMessage(answer),
      error => postMessage({ failed: String(error) } satisfies Failed),
    )
  })
}
