import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { recordToJson } from '../../../collector/src/formats/milo-json'
import { SpanServer } from './span-server'

interface Vector {
  name: string
  path: string
  contentType: string
  /** The body, one of the two. */
  hex?: string
  text?: string
  spans: number
  /** The first of them. */
  records: unknown[]
}

const vectors: Vector[] = JSON.parse(readFileSync(join(__dirname, '../../vectors/other-formats.json'), 'utf8'))

describe('a recorded request of another sender', () => {
  for (const { name, path, contentType, hex, text, spans, records } of vectors) {
    it(`becomes the same records as before: ${name}`, async () => {
      const server = await SpanServer.start()
      try {
        const body = hex === undefined ? text! : Buffer.from(hex, 'hex')
        const { status } = await server.post(path, body, { 'content-type': contentType })
        assert.equal(status, path === '/v1/traces' ? 200 : 202)
        assert.equal(server.records.length, spans)
        const made = JSON.parse(JSON.stringify(server.records.slice(0, records.length).map(recordToJson)))
        assert.deepEqual(made, records)
      } finally {
        await server.close()
      }
    })
  }
})
