/** The real servers and programs that tests talk to, installed and started when first asked for. */
export { type CassandraServer, startCassandra, startOwnCassandra } from './cassandra'
export { chromiumPath } from './chromium'
export { goJaeger, goPeer } from './go'
export { type MariaDbServer, startMariaDb, startOwnMariaDb } from './mariadb'
export { NODE_VERSIONS, type NodeVersion, nodeOfVersion } from './node-versions'
export type { Server, SharedServer } from './process'
export { type Python, pythonWithThrift } from './python'
export { THRIFT_VERSIONS, type ThriftVersion, thriftOfVersion } from './thrift-versions'
