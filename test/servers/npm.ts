import { cached, run } from './install'

/**
 * npm packages that tests run on beside those that this package has, each as `name@version`.
 * @returns a folder whose node_modules has them, and what they depend on
 */
export function npmPackages(...packages: string[]): Promise<string> {
  return cached(`npm-${packages.join('-').replaceAll(/[^\w.-]/g, '-')}`, async part => {
    // No scripts: what they would build is optional.
    const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock', '--loglevel=error']
    await run('npm', ['install', '--prefix', part, ...options, ...packages], { cwd: part })
  })
}
