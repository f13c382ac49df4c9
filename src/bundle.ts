import { bluebird } from '../plugins/bluebird'
import { cassandraDriver } from '../plugins/cassandra-driver'
import { express } from '../plugins/express'
import { fastify } from '../plugins/fastify'
import { genericPool } from '../plugins/generic-pool'
import { http } from '../plugins/http'
import { ioredis } from '../plugins/ioredis'
import { koa } from '../plugins/koa'
import { mysql2 } from '../plugins/mysql2'
import { pg } from '../plugins/pg'
import { pino } from '../plugins/pino'
import { thrift } from '../plugins/thrift'
import { undici } from '../plugins/undici'
import { winston } from '../plugins/winston'
import { cls } from './cls/late'
import { core } from './core'
import * as doctorCore from './doctor/core'
import * as index from './index'
import * as otelCore from './otel/core'
import * as plugin from './plugin'
import { share } from './process/copies'
import { register } from './register'

/** Kept: it has state, and an application may empty Node's cache of modules. */
let testing: typeof import('./testing') | undefined

/**
 * Everything that the package's entries offer, in one file: dist/bundle.js. The entries are thin (tsup.config.ts writes
 * them), for CommonJS and for ESM, so that whichever are loaded, in whichever way, Milo's state exists once. Where there
 * are several copies of this version, it is what the first of them offers. What a start doesn't need is in files of its own.
 */
export const milo = share({
  index,
  core,
  get cls() {
    return cls().api
  },
  doctorCore,
  plugin,
  otelCore,
  get testing() {
    return (testing ??= require('./testing') as typeof import('./testing'))
  },
  register,
  bluebird,
  cassandraDriver,
  genericPool,
  http,
  express,
  fastify,
  ioredis,
  koa,
  mysql2,
  pg,
  pino,
  thrift,
  undici,
  winston,
})
