import assert from 'node:assert/strict'
import { probabilityOf } from '../../../collector/src/formats/probability'

describe('the sampling probability of other formats', () => {
  const cases: [string, number | undefined][] = [
    ['', undefined],
    ['ot=th:0', 1],
    ['ot=th:8', 0.5],
    ['ot=th:c', 0.25],
    ['ot=th:fd7', 1 - 0xfd7 / 16 ** 3],
    ['ot=th:ffffffffffffff', 2 ** -56],
    ['vendor=1,ot=rv:abcdef01234567;th:8,other=th:0', 0.5],
    ['vendor=1, ot=th:8 ', 0.5],
    ['ot=p:3;r:5', 0.125],
    ['ot=p:0', 1],
    ['ot=p:63', undefined],
    ['ot=th:', undefined],
    ['ot=th:xyz', undefined],
    ['ot=th:123456789abcdef', undefined],
    ['not=th:8', undefined],
    ['vendor=ot=th:8', undefined],
  ]
  for (const [state, p] of cases) {
    it(`is ${p} with ${JSON.stringify(state)}`, () => assert.equal(probabilityOf(undefined, state), p))
  }

  it('is what milo.probability says before all else, and unknown if that is no probability', () => {
    const of = (value: string) => probabilityOf(new Map([['milo.probability', value]]), 'ot=th:8')
    assert.equal(of('0.25'), 0.25)
    assert.equal(of('0'), 0)
    assert.equal(of('2'), undefined)
    assert.equal(of('often'), 0.5)
  })
})
