import { Failure, Waiting } from '../parts/notice'
import { NoOther, useAlike } from './choices'
import { TwoTraces } from './two-traces'

/** Compares a trace with a typical one of its operation. */
export function WithTypical({ id }: { id: string }) {
  const alike = useAlike(id)
  if (alike.state === 'loading') return <Waiting what="a typical trace" />
  if (alike.state === 'failed') {
    return <Failure title="A typical trace couldn't be found" problem={alike.problem} retry={alike.again} />
  }
  const { trace, typical } = alike.value
  if (typical === null) return <NoOther trace={trace} />
  const names = { a: 'the typical trace', b: 'this trace', columnA: 'typical', columnB: 'this' }
  return <TwoTraces a={typical.traceId} b={id} names={names} />
}
