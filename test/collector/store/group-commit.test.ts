import assert from 'node:assert/strict'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { GroupCommit } from '../../../collector/src/store/pipeline/group-commit'
import type { Message } from '../../../collector/src/store/store'

describe('a group commit', () => {
  /** Refuses what `isRefused` says, when it is told to go on; one group at a time, of ten bytes. */
  async function outcomes(isRefused: (bytes: number) => boolean, sizes: number[]): Promise<string[]> {
    let go = () => {}
    const started = new Promise<void>(resolve => {
      go = resolve
    })
    const write = async (messages: Message[]) => {
      await started
      if (messages.some(({ body }) => isRefused(body.length))) throw new Error('refused')
    }
    const commits = new GroupCommit(write, 10, 1)
    const settled = Promise.allSettled(sizes.map(size => commits.append([{ body: Buffer.alloc(size), spans: 1 }])))
    // The first group is under way, and the others wait.
    await nextTurn()
    go()
    return (await settled).map(({ status }) => status)
  }
  const [ok, refused] = ['fulfilled', 'rejected']

  it('rejects appends that wait behind a failure at once, since they would fail as well', async () => {
    assert.deepEqual(await outcomes(size => size === 6, [6, 3, 5, 5]), [refused, refused, refused, refused])
  })

  it('rejects no other append when one that is larger than a group fails: a database may refuse it each time it is sent', async () => {
    assert.deepEqual(await outcomes(size => size > 10, [11, 3, 5, 12, 5]), [refused, ok, ok, refused, ok])
  })
})
