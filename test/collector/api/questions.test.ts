import assert from 'node:assert/strict'
import { Questions } from '../../../collector/src/api/compatible/questions'
import { createReads } from '../../../collector/src/api/read-budget'
import { Turns } from '../../../collector/src/turns'

describe('the searches of Jaeger’s and Zipkin’s query APIs', () => {
  it('end when the client has gone', async () => {
    let pages = 0
    const store: any = {
      // A store that always has more to look at, and finds nothing.
      search: async () => {
        pages++
        return { traces: [], matchedUs: [], next: 'more', read: 2000, cost: 'all' }
      },
    }
    const questions = new Questions({
      reads: createReads(1e9, 1e8),
      askStore: question => question(store),
      activity: { read: async () => {}, retentionDays: 7, activityDays: 400 } as never,
    })
    const gone = new Error('gone')
    const turns = new Turns(() => {
      if (pages === 3) throw gone
    })
    await assert.rejects(questions.search({ annotations: [], limit: 10 }, turns), gone)
    assert.equal(pages, 3)
  })
})
