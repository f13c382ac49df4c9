/** What a host is called. Without node:net: the page reads traces too. */

/** A host without port, brackets and a dot at its end, an address in its one form, as browsers read it; "" for what is no host. */
export function hostName(text: string): string {
  if (/[/?#@\\]/.test(text)) return ''
  const url = `http://${/^[^[]*:.*:/.test(text) ? `[${text}]` : text}`
  return URL.canParse(url) ? new URL(url).hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '') : ''
}

const LOCAL_NAMES =
  /^(?:.+\.)?localhost$|^localhost[46]?\.localdomain[46]?$|^localhost[46]$|^ip6-(?:localhost|loopback)$/
const LOCAL_ADDRESSES = /^(?:127\.\d+\.\d+\.\d+|0\.0\.0\.0|::1?|::ffff:(?:7f..:[\da-f]+|0:0))$/

/** Whether every machine calls itself so: such a name says nothing about which machine it is. */
export function isEveryMachine(host: string): boolean {
  const name = hostName(host)
  return LOCAL_NAMES.test(name) || LOCAL_ADDRESSES.test(name)
}
