import { useEffect } from 'preact/hooks'
import { Outcome, useAsk } from '../kept/ask'
import { Notice } from '../parts/notice'
import { ask as request } from '../shell/ask'
import { token } from '../shell/credentials'
import { traceApi } from '../shell/route'

const LOOK_AGAIN_MS = 1_000
const LOOKS = 15

/** Says that there is no such trace, and offers to ask processes for it. @param onStored called when it is there */
export function NotStored({ id, onStored }: { id: string; onStored(): void }) {
  const [asked, ask] = useAsk()
  const isAwaited = asked.state === 'told' && asked.answer.processes > 0
  useEffect(() => {
    if (!isAwaited) return
    let looks = 0
    const timer = setInterval(() => {
      if (++looks === LOOKS) clearInterval(timer)
      // Not there yet, or not to be had: the button says which.
      request(traceApi(id), token(), { method: 'HEAD' }).then(onStored, () => {})
    }, LOOK_AGAIN_MS)
    return () => clearInterval(timer)
  }, [isAwaited, id])
  return (
    <Notice page title="No such trace">
      <p>
        Nothing has been stored under <code>{id}</code>. It may be on its way, it may not have been sampled, or it is
        older than what this collector keeps.
      </p>
      <p>
        If it wasn't sampled, services with <code>MILO_RETROACTIVE=1</code> may still have it in their histories.
      </p>
      <Outcome asked={asked}>If one of them still has it, it shows here within seconds.</Outcome>
      <p>
        <button
          type="button"
          class="main"
          disabled={asked.state === 'asking'}
          onClick={() => void ask({ traceId: id })}
        >
          Keep this trace
        </button>{' '}
        <button type="button" onClick={onStored}>
          Look again
        </button>{' '}
        or <a href="./">see the newest traces</a>.
      </p>
    </Notice>
  )
}
