import { createHash } from 'node:crypto'
import { cached, run } from './install'

const MAX_NAME = 200

/**
 * npm packages that tests run on beside those that this package has, each as `name@version`.
 * @returns a folder whose node_modules has them, and what they depend on
 */
export function npmPackages(...packages: string[]): Promise<string> {
  const names = packages.join('-').replaceAll(/[^\w.-]/g, '-')
  // A name of a file has at most 255 bytes.
  const hash = createHash('sha256').update(names).digest('hex').slice(0, 16)
  const folder = names.length <= MAX_NAME ? names : `${names.slice(0, MAX_NAME - 17)}-${hash}`
  return cached(`npm-${folder}`, async part => {
    // No scripts: what they would build is optional.
    const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock', '--loglevel=error']
    await run('npm', ['install', '--prefix', part, ...options, ...packages], { cwd: part })
  })
}
