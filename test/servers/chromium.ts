import { apt, which } from './install'
import { oncePerRun } from './shared'

const PROGRAMS = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

/**
 * A Chromium's path, for playwright-core's `executablePath`. As root, and in containers, it also needs the arguments
 * `--no-sandbox` and `--disable-dev-shm-usage`.
 */
export const chromiumPath = oncePerRun('chromium', async () => {
  const look = () => PROGRAMS.map(which).find(path => path !== undefined)
  const path = look()
  if (path !== undefined) return path
  await apt(['chromium'], '')
  const installed = look()
  if (installed === undefined) throw new Error("Chromium isn't on the PATH after installing it")
  return installed
})
