import type { ComponentChildren } from 'preact'
import { useCallback, useState } from 'preact/hooks'
import type { KeepAnswer } from '../../src/http/answers'
import { sendJson } from '../shell/json'
import type { Problem } from '../shell/problem'

/** Asking processes for what isn't sampled, and what comes of it in plain words. */

export type KeepQuestion = { traceId: string } | { service: string; name: string; n: number }

export type Asked =
  | { state: 'not yet' }
  | { state: 'asking' }
  | { state: 'told'; answer: KeepAnswer }
  | { state: 'failed'; problem: Problem }

/** @param onTold called when processes have been told */
export function useAsk(onTold?: (answer: KeepAnswer) => void): [Asked, (question: KeepQuestion) => Promise<void>] {
  const [asked, setAsked] = useState<Asked>({ state: 'not yet' })
  const ask = useCallback(
    async (question: KeepQuestion) => {
      setAsked({ state: 'asking' })
      try {
        const answer = await sendJson<KeepAnswer>('POST', 'api/keep', question)
        setAsked({ state: 'told', answer })
        onTold?.(answer)
      } catch (problem) {
        setAsked({ state: 'failed', problem: problem as Problem })
      }
    },
    [onTold],
  )
  return [asked, ask]
}

interface OutcomeProps {
  asked: Asked
  /** What may come now, if processes were told. */
  children: ComponentChildren
}

/** Says how many processes were told, and why perhaps nothing comes; or what went wrong. */
export function Outcome({ asked, children }: OutcomeProps) {
  if (asked.state === 'failed') {
    return (
      <p class="field-problem" role="alert">
        {asked.problem.message}
      </p>
    )
  }
  return (
    <div class="keep-outcome" role="status">
      {asked.state === 'asking' && <p class="hint">Telling processes…</p>}
      {asked.state === 'told' && <Told answer={asked.answer} more={children} />}
    </div>
  )
}

interface ToldProps {
  answer: KeepAnswer
  more: ComponentChildren
}

function Told({ answer, more }: ToldProps) {
  const { processes, ofService = 0 } = answer
  if (processes === 0 && ofService === 0) {
    return (
      <p>
        <strong>No process was told, so nothing may come.</strong> None with a history asks this collector. Start
        services with <code>MILO_RETROACTIVE=1</code> and let them send to this collector or to a relay of it; then ask
        again. Processes that ask another collector on the same databases hear of it from there.
      </p>
    )
  }
  const told = (
    <strong>
      {processes === 0
        ? 'Processes of another collector are told.'
        : `${processes === 1 ? 'One process was' : `${processes.toLocaleString()} processes were`} told.`}
    </strong>
  )
  if ('traceId' in answer || ofService > 0) {
    return (
      <p>
        {told} {more}
        {answer.hint !== undefined && ` But ${answer.hint}.`}
      </p>
    )
  }
  return (
    <p>
      {told} But no process of <strong>{answer.service}</strong> asks now, so nothing may come: see below which services
      have a history. A process asks once its first trace has ended.
    </p>
  )
}
