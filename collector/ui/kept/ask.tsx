import type { ComponentChildren } from 'preact'
import { useCallback, useState } from 'preact/hooks'
import type { KeepAnswer, ServiceHistories } from '../../src/http/answers'
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
  /** The services with histories, as far as they are known. */
  services?: ServiceHistories[]
  /** What may come now, if processes were told. */
  children: ComponentChildren
}

/** Says how many processes were told, and why perhaps nothing comes; or what went wrong. */
export function Outcome({ asked, services = [], children }: OutcomeProps) {
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
      {asked.state === 'told' && <Told answer={asked.answer} services={services} more={children} />}
    </div>
  )
}

interface ToldProps {
  answer: KeepAnswer
  services: ServiceHistories[]
  more: ComponentChildren
}

function Told({ answer, services, more }: ToldProps) {
  const { processes } = answer
  if (processes === 0) {
    return (
      <p>
        <strong>No process was told, so nothing may come.</strong> None with a history asks this collector. Start
        services with <code>MILO_RETROACTIVE=1</code> and let them send to this collector or to a relay of it; then ask
        again. Processes that ask another collector on the same databases hear of it from there.
      </p>
    )
  }
  const told = (
    <strong>{processes === 1 ? 'One process was' : `${processes.toLocaleString()} processes were`} told.</strong>
  )
  if ('traceId' in answer || services.length === 0 || services.some(({ service }) => service === answer.service)) {
    return (
      <p>
        {told} {more}
      </p>
    )
  }
  return (
    <p>
      {told} But none of <strong>{answer.service}</strong> is known to have a history, so nothing may come: see below
      which services have one.
    </p>
  )
}
