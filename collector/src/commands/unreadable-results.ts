import { BadResults } from '../store/analysis/result-reader'
import { CommandError } from './command-error'

/** Says why a file of results can't be taken: what bad results, a broken compression or a file that can't be read throws. */
export function unreadable(name: string, error: unknown): unknown {
  if (error instanceof BadResults) return new CommandError(error.message)
  const { code, message } = error as NodeJS.ErrnoException
  if (/^(Z_|ERR_)/.test(code ?? '')) return new CommandError(`${name} can't be decompressed: ${message}`)
  if (/^E[A-Z]+$/.test(code ?? ''))
    return new CommandError(`${name} can't be read (${code}): give existing files, or - for standard input`)
  return error
}
