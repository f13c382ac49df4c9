import { BlockList, isIP } from 'node:net'
import { MiloError } from '../errors'
import type { HttpPropagation } from '../trace/propagation'
import { show } from './show'

/** Verdicts that are remembered: a look into the list costs a microsecond. */
const MAX_REMEMBERED = 1_000

/**
 * @param value what `trustedCallers` is, unless it is `all`
 * @throws MiloError that names the value and the remedy
 */
export function trustedCallers(value: unknown): HttpPropagation['trusts'] {
  if (value === 'none') return () => false
  const family = (address: string) => (isIP(address) === 6 ? 'ipv6' : 'ipv4')
  const list = new BlockList()
  for (const part of typeof value === 'string' ? value.split(',').map(text => text.trim()) : ['']) {
    const [, address = '', , prefix] = /^([^/]+)(\/(\d{1,3}))?$/.exec(part) ?? []
    const bits = isIP(address) === 6 ? 128 : 32
    if (isIP(address) === 0 || Number(prefix ?? bits) > bits) {
      throw new MiloError(
        'MILO_BAD_PROPAGATION',
        `trustedCallers must be all, none, or addresses and networks (10.0.0.0/8) separated by commas, got '${part || show(value)}'`,
      )
    }
    list.addSubnet(address, Number(prefix ?? bits), family(address))
  }
  const verdicts = new Map<string, boolean>()
  return given => {
    if (given === undefined) return false
    const known = verdicts.get(given)
    if (known !== undefined) return known
    const address = given.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '')
    const verdict = isIP(address) !== 0 && list.check(address, family(address))
    if (verdicts.size >= MAX_REMEMBERED) verdicts.clear()
    verdicts.set(given, verdict)
    return verdict
  }
}
