import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'

/**
 * Reads a password from standard input: typed without being shown, or the first line of a pipe.
 * @throws RangeError if there is none, or it is too short
 */
export async function askPassword(): Promise<string> {
  const { isTTY = false } = process.stdin
  if (isTTY) process.stderr.write('password: ')
  // readline echoes what is typed, so its output is discarded.
  const output = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({ input: process.stdin, output, terminal: isTTY })
  for await (const line of lines) {
    lines.close()
    if (isTTY) process.stderr.write('\n')
    if (line.length < 8) throw new RangeError('the password is too short: give at least 8 characters')
    return line
  }
  throw new RangeError('standard input has no password: type one, or pipe it in')
}
