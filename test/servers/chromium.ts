import { apt, which } from './install'
import { oncePerRun } from './shared'

const SHELL = 'chromium-headless-shell'
const BROWSERS = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

/**
 * A Chromium's path, for playwright-core's `executablePath`. As root, and in containers, it also needs the arguments
 * `--no-sandbox` and `--disable-dev-shm-usage`.
 */
export async function chromiumPath(): Promise<string> {
  const look = () => BROWSERS.map(which).find(path => path !== undefined)
  const path = look()
  if (path !== undefined) return path
  await apt(['chromium'], '')
  const installed = look()
  if (installed === undefined) throw new Error("Chromium isn't on the PATH after installing it")
  return installed
}

/**
 * The path of Chromium's headless shell: the same engine without a browser's windows, so that a test takes half of the
 * processor time. Where it can't be installed, a whole browser's.
 */
export const headlessChromiumPath = oncePerRun('chromium', async () => {
  if (which(SHELL) === undefined) await apt([SHELL], '').catch(() => {})
  return which(SHELL) ?? chromiumPath()
})
