import { MiloError } from '../errors'
import {
  type BothPropagations,
  type ByPeer,
  CARRIERS,
  type Carrier,
  HTTP_FORMATS,
  type HttpFormats,
  type Propagation,
} from '../trace/propagation'
import { show } from './show'

/** One setting for both: an entry says by its word what it is for, and `off` is for what no other entry of the peer is for. */
export function propagation(value: unknown, carrier: Carrier): BothPropagations {
  const thrift: Propagation = { default: carrier, peers: new Map() }
  const http: ByPeer<HttpFormats> = { default: HTTP_FORMATS.w3c, peers: new Map() }
  const entries = (typeof value === 'string' ? value.split(',') : ['']).map(text => {
    const part = text.trim()
    const [, peer, word] = /^(?:([^\s=]+)=)?([\w+-]+)$/.exec(part) ?? []
    const carrier = CARRIERS.find(known => known === word)
    const formats = word === undefined || carrier !== undefined ? 0 : formatsOf(word)
    if (carrier === undefined && formats === 0) {
      throw new MiloError(
        'MILO_BAD_PROPAGATION',
        `propagation must be one of ${CARRIERS.join(', ')}, or for HTTP ${Object.keys(HTTP_FORMATS).join(', ')} (b3+w3c for two), or host:port=one of them (host= for every port, *.domain= for every host in it), separated by commas; got '${part || show(value)}'`,
      )
    }
    return { peer: peer?.toLowerCase().replace(/^\[([^\]]*)\]/, '$1'), carrier, formats }
  })
  // What is more than off comes later, and so it counts.
  entries.sort((a, b) => Number(b.carrier === 'off') - Number(a.carrier === 'off'))
  for (const { peer, carrier, formats } of entries) {
    if (carrier !== undefined) put(thrift, peer, carrier)
    if (carrier === undefined || carrier === 'off') put(http, peer, formats)
  }
  return { thrift, http }
}

/** @returns 0 if it isn't one or several of HTTP_FORMATS */
function formatsOf(word: string): HttpFormats {
  let formats = 0
  for (const name of word.split('+')) {
    if (!Object.hasOwn(HTTP_FORMATS, name)) return 0
    formats |= HTTP_FORMATS[name as keyof typeof HTTP_FORMATS]
  }
  return formats
}

function put<C>(to: ByPeer<C>, peer: string | undefined, value: C): void {
  if (peer === undefined) to.default = value
  else to.peers.set(peer, value)
}
