import assert from 'node:assert/strict'
import { framesOf } from '../../../collector/ui/trace/stack'

const texts = (stack: string, type: string | null = null, message: string | null = null) =>
  framesOf(stack, type, message).map(({ text, library }) => (library ? `(${text})` : text))

describe('a stack', () => {
  it("doesn't repeat its type and message, which stand above it", () => {
    const java =
      'java.io.IOException: broken pipe\n\tat shop.Cart.total(Cart.java:7)\n\tat java.base/java.lang.Thread.run(Thread.java:1)\nCaused by: x'
    assert.deepEqual(texts(java, 'java.io.IOException', 'broken pipe'), [
      '    at shop.Cart.total(Cart.java:7)',
      '(    at java.base/java.lang.Thread.run(Thread.java:1))',
      'Caused by: x',
    ])
    assert.deepEqual(texts('Error: two\nlines\n    at a (/app/a.js:1:2)', 'Error', 'two\nlines'), [
      'at a (/app/a.js:1:2)',
    ])
    assert.deepEqual(texts('Error\n    at a (/app/a.js:1:2)', 'Error'), ['at a (/app/a.js:1:2)'])
    assert.deepEqual(texts('just the message', 'E', 'just the message'), [])
    // It begins like the type, and goes on.
    assert.deepEqual(texts('Errors abound\nat a', 'Error'), ['Errors abound', 'at a'])
  })

  it('tells frames of libraries from the application’s', () => {
    const node =
      'at a (/app/a.js:1:2)\nat b (/app/node_modules/x/i.js:1:1)\nat node:internal/process:95:5\nat process.x (node:internal/y:1:1)'
    assert.deepEqual(texts(node), [
      'at a (/app/a.js:1:2)',
      '(at b (/app/node_modules/x/i.js:1:1))',
      '(at node:internal/process:95:5)',
      '(at process.x (node:internal/y:1:1))',
    ])
    const python =
      'Traceback (most recent call last):\r\n  File "/app/shop.py", line 3, in total\r\n  File "/usr/lib/python3.12/json/__init__.py", line 1'
    assert.deepEqual(texts(python), [
      'Traceback (most recent call last):',
      '  File "/app/shop.py", line 3, in total',
      '(  File "/usr/lib/python3.12/json/__init__.py", line 1)',
    ])
  })

  it('may be empty', () => {
    assert.deepEqual(texts(''), [])
    assert.deepEqual(texts(' \n ', 'E', 'm'), [])
  })
})
