import type { SearchAnswer } from '../../src/http/answers'
import { counted } from '../parts/count'

/** Says what a search costs that the index can't answer, so that nobody wonders why it is slow. */
export function CostNote({ cost, read }: Pick<SearchAnswer, 'cost' | 'read'>) {
  if (cost !== 'all' && cost !== 'key') return null
  return (
    <p class="hint" role="note">
      {cost === 'all'
        ? 'The index can’t find these conditions, so the search reads every trace of the time range'
        : 'The index can’t find this condition, so the search reads every trace with its key'}
      : {counted(read, 'trace')} for this page. A name, a service or <code>key=value</code> beside it makes it faster.
    </p>
  )
}
