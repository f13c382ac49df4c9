import type { PluginHandle } from 'milo/plugin'
import { patchBinaryProtocol } from './dialects/binary'
import { patchCompactProtocol } from './dialects/compact'
import { patchJsonProtocol } from './dialects/json'

/*
 * Copies of npm thrift: forks under other names, and folders that an application or a package has taken over. They have no
 * version that says what is in them, so each class is looked at: it must have what Milo relies on.
 */

const METHODS = ['writeMessageBegin', 'writeMessageEnd', 'readMessageBegin', 'readMessageEnd', 'skip', 'flush']

/**
 * Patches a protocol that works as one of npm thrift's does.
 * @param prototype its class's
 * @returns whether it is one
 */
export function patchCopiedProtocol(prototype: any, plugin: PluginHandle): boolean {
  if (!METHODS.every(name => source(prototype, name) !== undefined)) return false
  const begins = source(prototype, 'writeMessageBegin')!
  const header = source(prototype, 'readMessageBegin')!
  if (!/\bthis\.trans\b/.test(source(prototype, 'flush')!)) return false
  if (!['fname', 'mtype', 'rseqid'].every(name => header.includes(name))) return false
  if (/\btstack\b/.test(begins)) patchJsonProtocol(prototype, plugin)
  else if (/\blastFieldId_\b/.test(source(prototype, 'readFieldBegin') ?? '')) patchCompactProtocol(prototype, plugin)
  else if (/\bstrictWrite\b/.test(begins)) patchBinaryProtocol(prototype, plugin)
  else return false
  return true
}

function source(prototype: any, name: string): string | undefined {
  const method = Object.getOwnPropertyDescriptor(prototype, name)?.value
  return typeof method === 'function' ? Function.prototype.toString.call(method) : undefined
}
