/**
 * Everything that the package's entries offer, in one file: dist/bundle.js. The entries are thin (tsup.config.ts writes
 * them), for CommonJS and for ESM, so that whichever are loaded, in whichever way, Milo's state exists once.
 */
export { cassandraDriver } from '../plugins/cassandra-driver'
export { http } from '../plugins/http'
export { mysql2 } from '../plugins/mysql2'
export { pino } from '../plugins/pino'
export { thrift } from '../plugins/thrift'
export { winston } from '../plugins/winston'
export * as cls from './cls'
export * as index from './index'
export * as plugin from './plugin'
export { register } from './register'
export * as testing from './testing'
