/**
 * `milo/register`: loaded before the application (`node -r milo/register app.js`, or --import), it starts Milo from the
 * environment and patches what the application will load. It never throws: with settings that can't be used it says so,
 * and the application runs untraced.
 */
import { http } from '../plugins/http'
import { thrift } from '../plugins/thrift'
import { MiloError } from './errors'
import { install } from './hook'
import { describe, log } from './log'
import { settle } from './options'
import type { Plugin } from './plugin'
import { configure } from './tracer'

const PLUGINS = [thrift, http]

let registered = false

export function register(): void {
  if (registered) return
  registered = true
  try {
    const settings = settle()
    configure(settings)
    if (settings.enabled) install(chosen(settings.pluginNames))
  } catch (error) {
    log('error', `${error instanceof MiloError ? error.message : describe(error)} — the application runs untraced`)
  }
}

/** All, or those named; a name with `-` before it is left out. */
function chosen(names: string[]): Plugin[] {
  const known = PLUGINS.map(plugin => plugin.name)
  for (const name of names) {
    if (!known.includes(name.replace(/^-/, ''))) {
      throw new MiloError(
        'MILO_BAD_PLUGINS',
        `MILO_PLUGINS knows ${known.join(', ')} (-name leaves one out), got '${name}'`,
      )
    }
  }
  const wanted = names.filter(name => !name.startsWith('-'))
  return PLUGINS.filter(({ name }) => (wanted.length === 0 || wanted.includes(name)) && !names.includes(`-${name}`))
}
