import assert from 'node:assert/strict'
import { reference, written } from './reference'

describe('docs/reference.md', () => {
  it('is what the docstrings say: if not, npm run reference', () => {
    assert.equal(written(), reference())
  })
})
