import { cached, run } from './install'

/** The versions of npm thrift that tests run on beside the one that this package has. */
export const THRIFT_VERSIONS = ['0.9.3', '0.12.0', '0.16.0', '0.20.0', '0.23.0'] as const
export type ThriftVersion = (typeof THRIFT_VERSIONS)[number]

/** npm thrift of this version. @returns a folder whose node_modules has it, and what it depends on */
export function thriftOfVersion(version: ThriftVersion): Promise<string> {
  return cached(`npm-thrift-${version}`, async part => {
    // No scripts: what they would build is optional, and doesn't build on Node 20.
    const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock', '--loglevel=error']
    await run('npm', ['install', '--prefix', part, ...options, `thrift@${version}`], { cwd: part })
  })
}
