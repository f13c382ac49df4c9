import assert from 'node:assert/strict'
import { waitingStore } from '../../../collector/src/store/cassandra-mysql/waiting-store'
import { type Store, StoreError } from '../../../collector/src/store/store'
import { until } from '../../helpers/until'

describe('a store that waits for its databases', () => {
  it('closes without waiting for an attempt that gets no answer, and closes the store that the attempt opens later', async () => {
    let asked = false
    let closed = 0
    let find = (_store: Store) => {}
    const away = new StoreError('MILO_STORE_UNAVAILABLE', 'away')
    const store = waitingStore(
      () => {
        asked = true
        return new Promise<Store>(resolve => {
          find = resolve
        })
      },
      away,
      () => assert.fail('nothing is to be said after the end'),
    )
    await until('the databases are asked', () => asked)
    await assert.rejects(store.check(), away)
    await store.close()
    await assert.rejects(store.check(), { code: 'MILO_STORE_CLOSED' })
    find({ setIndex() {}, close: async () => void closed++ } as unknown as Store)
    await until('what was found is closed', () => closed === 1)
  })
})
