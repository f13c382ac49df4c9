import { cls, ifLoaded } from '../cls/late'
import { install, uninstall } from '../patch/hook'
import type { Plugin } from '../patch/plugin'
import { claim, warnOnce } from '../process/copies'
import { leaveFrames } from '../trace/context'
import type { LiveSpan } from '../trace/span'
import { configure, isActive, retire } from './instance'
import type { Settings } from './options'

/**
 * Starts Milo, or starts it again: every entry calls this. The settings have been checked by now. If something fails all the
 * same, Milo is off.
 * @param collect takes the spans that end, and none is sent
 */
export function start(settings: Settings, plugins: Plugin[], collect?: (span: LiveSpan) => void): void {
  if (settings.enabled && !claim(giveUp)) return
  try {
    configure(settings, collect)
    for (const text of settings.oddVariables) warnOnce(text)
    if (!settings.enabled) return
    if (settings.clsHooked) cls().replaceClsHooked()
    install(plugins)
  } catch (error) {
    configure({ ...settings, enabled: false })
    throw error
  }
}

/**
 * Installs further plugins, if Milo runs. They are Milo's own, none of which traces a socket of Milo's: so nothing has to be expected of
 * them (process/later.ts). An application's plugins come with the settings.
 */
export function add(plugins: Plugin[]): void {
  if (isActive()) install(plugins)
}

function giveUp(): void {
  // What has ended is sent all the same: a test runner begins with the next file at once.
  retire().catch(() => {})
  uninstall()
  ifLoaded(({ restoreClsHooked }) => restoreClsHooked())
  leaveFrames()
}
