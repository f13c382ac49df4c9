import { ExportError } from '../destination'

/** A folder of HDFS, as `--to` names it. */
export interface HdfsAddress {
  /** Where namenodes answer WebHDFS: `http://nn1:9870`. Of several, one is active. */
  namenodes: string[]
  /** Absolute. */
  path: string
  /** Who writes; undefined unless the address says so. */
  user: string | undefined
}

/** Hadoop 3's ports of dfs.namenode.http-address and dfs.namenode.https-address. */
const PORTS = { webhdfs: 9870, swebhdfs: 9871 }
const REMEDY = 'give webhdfs://NAMENODE:9870/folder (swebhdfs: over https), several namenodes with commas between them'

/** Returns whether a text is the address of a folder of HDFS, rather than a folder of this machine. */
export function isHdfs(text: string): boolean {
  return /^s?(web)?hdfs:\/\//i.test(text)
}

/**
 * Reads an address. The port of hdfs:// is that of Hadoop's own protocol, which only Java speaks: WebHDFS is looked for at its
 * default port.
 * @throws ExportError
 */
export function parseHdfsAddress(text: string): HdfsAddress {
  const [, scheme, user, authority, path] =
    /^(hdfs|webhdfs|swebhdfs):\/\/(?:([\w.-]{1,100})@)?([^/@?#\s]+)(\/[^?#]*)$/i.exec(text) ?? []
  if (scheme === undefined) throw new ExportError(`--to ${JSON.stringify(text)} isn't a folder of HDFS: ${REMEDY}`)
  const isSecure = scheme.toLowerCase() === 'swebhdfs'
  const namenodes = authority!.split(',').map(address => {
    const [, host, port] = /^(\[[0-9a-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?$/i.exec(address) ?? []
    if (host === undefined)
      throw new ExportError(`--to: ${JSON.stringify(address)} isn't a namenode's host:port: ${REMEDY}`)
    const ofWeb = scheme.toLowerCase() === 'hdfs' ? undefined : port
    return `${isSecure ? 'https' : 'http'}://${host}:${ofWeb ?? PORTS[isSecure ? 'swebhdfs' : 'webhdfs']}`
  })
  const segments = path!.split('/').filter(segment => segment !== '')
  if (segments.length === 0) throw new ExportError(`--to ${JSON.stringify(text)} has no folder: ${REMEDY}`)
  if (segments.some(segment => segment === '.' || segment === '..' || segment.includes(':'))) {
    throw new ExportError(`--to: HDFS has no names with a colon, and no . or ..: give another folder`)
  }
  return { namenodes, path: `/${segments.join('/')}`, user }
}
