import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { apt, run, which } from './install'
import { controls, freePorts, RunningServer, type Server, type SharedServer, serverFolder } from './process'
import { oncePerRun } from './shared'

/** Redis from Debian's packages, which hold programs alone: no service is set up. It keeps nothing on disk. */

const START_MS = 30_000

/** The Redis of this test run; a test must use keys of its own, and leave it running. */
export const startRedis = oncePerRun<SharedServer<Server>>('redis', () => startOwnRedis())

/** Another one, for a test that stops it. */
export function startOwnRedis(): Promise<Server> {
  return start()
}

/** A cluster of one node, which has all slots: enough for a client to follow its protocol. */
export async function startOwnRedisCluster(): Promise<Server> {
  const server = await start(['--cluster-enabled', 'yes', '--cluster-config-file', 'nodes.conf'])
  await run(which('redis-cli')!, ['-p', String(server.port), 'CLUSTER', 'ADDSLOTSRANGE', '0', '16383'])
  return server
}

async function start(options: string[] = []): Promise<Server> {
  const program = await installRedis()
  // A node of a cluster has a second port, by default 10,000 above the first one.
  const [port, busPort] = await freePorts(2)
  const folder = serverFolder('redis')
  // It is the server under that name alone.
  const daemon = join(folder, 'redis-server')
  symlinkSync(program, daemon)
  const cluster =
    options.length === 0 ? [] : [...options, '--cluster-announce-ip', '127.0.0.1', '--cluster-port', String(busPort)]
  const server = new RunningServer({
    name: 'Redis',
    folder,
    command: [daemon, '--bind', '127.0.0.1', '--port', String(port), '--save', '', '--dir', folder, ...cluster],
    ports: [port!],
    ready: /Ready to accept connections/,
    startMs: START_MS,
  })
  await server.start()
  return { host: '127.0.0.1', port: port!, external: false, ...controls(server) }
}

/** @returns the path of the server, which Debian has in redis-tools as well: as redis-check-rdb, the same file */
async function installRedis(): Promise<string> {
  const find = () => which('redis-server') ?? which('redis-check-rdb')
  if (find() === undefined) await apt(['redis-tools'], '')
  const program = find()
  if (program === undefined) throw new Error("redis-server isn't on the PATH after installing redis-tools")
  return program
}
