import type { Writable } from 'node:stream'

/** Where files of an export go: a folder of this machine (folder.ts) or of HDFS (hdfs/). */
export interface Destination {
  /** Makes the folder, and removes what exports that were killed have left. */
  prepare(): Promise<void>
  /** Returns how long a file is; undefined if there is none. */
  size(name: string): Promise<number | undefined>
  /** Reads a small file; undefined if there is none. */
  read(name: string): Promise<Buffer | undefined>
  /** Begins a file, which has another name until it is whole. */
  create(name: string): Promise<NewFile>
  /** Returns an error of writing with its remedy, or the same error. */
  explain(error: unknown): unknown
}

export interface NewFile {
  out: Writable
  /** Gives the file its name, once `out` has finished; it replaces one of that name. @returns how long the file is */
  keep(): Promise<number>
  /** Removes what has been written. Never rejects. */
  discard(): Promise<void>
}

/** A small file's greatest length. */
export const MAX_SMALL_BYTES = 4 * 1024 * 1024

/** An export can't go on. The message is a sentence with the remedy, without secrets. */
export class ExportError extends Error {
  /** Whether it may work in some seconds. */
  readonly passing: boolean
  constructor(message: string, passing = false, options?: ErrorOptions) {
    super(message, options)
    this.passing = passing
  }
}
