/**
 * `milo/register`: loaded before the application (`node -r milo/register app.js`, or --import), it starts Milo from the
 * environment and patches what the application will load. It never throws: with settings that can't be used it says so,
 * and the application runs untraced.
 */
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
import { MiloError } from './errors'
import type { Plugin } from './patch/plugin'
import { warnOnce } from './process/copies'
import { describe, log } from './process/log'
import { currentSettings, isActive } from './start/instance'
import { readSettings, type Settings } from './start/options'
import { isLauncher } from './start/service'
import { add, start } from './start/start'

const PLUGINS = [
  thrift,
  http,
  undici,
  mysql2,
  pg,
  cassandraDriver,
  ioredis,
  express,
  fastify,
  koa,
  genericPool,
  bluebird,
]
/** Plugins that change what the application writes. They are installed only on request. */
const LOG_PLUGINS = [pino, winston]

let registered = false

export function register(): void {
  if (registered) return
  registered = true
  try {
    const running = currentSettings()
    if (running !== undefined) {
      warnOnce(
        'milo/register came after init: what init was given stays, and the plugins are added; load milo/register first (node -r milo/register)',
      )
      add(chosen(running))
      return
    }
    if (isLauncher(process)) return
    const settings = readSettings()
    start(settings, chosen(settings))
  } catch (error) {
    refuse(error)
  }
}

/** Says why Milo doesn't start. */
export function refuse(error: unknown): void {
  const outcome = isActive() ? 'Milo goes on as it was started' : 'the application runs untraced'
  log('error', `${error instanceof MiloError ? error.message : describe(error)} — ${outcome}`)
}

/** The plugins of the settings, and those that log correlation needs. */
export function withLogPlugins(settings: Settings): Plugin[] {
  return [...settings.plugins, ...logPlugins(settings)]
}

function logPlugins(settings: Settings): Plugin[] {
  return settings.logCorrelation ? LOG_PLUGINS : []
}

/** All, or those named; a name with `-` before it is left out. */
function chosen(settings: Settings): Plugin[] {
  const names = settings.pluginNames
  const all = [...PLUGINS, ...LOG_PLUGINS]
  const known = all.map(plugin => plugin.name)
  for (const name of names) {
    if (!known.includes(name.replace(/^-/, ''))) {
      throw new MiloError(
        'MILO_BAD_PLUGINS',
        `MILO_PLUGINS knows ${known.join(', ')} (-name leaves one out), got '${name}'`,
      )
    }
  }
  const wanted = names.filter(name => !name.startsWith('-'))
  const usual = [...(wanted.length === 0 ? PLUGINS : []), ...logPlugins(settings)]
  return all.filter(
    plugin => (wanted.includes(plugin.name) || usual.includes(plugin)) && !names.includes(`-${plugin.name}`),
  )
}
