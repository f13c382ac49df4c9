import { chownSync, existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { apt, run, which } from './install'
import { controls, freePort, RunningServer, type Server, type SharedServer, serverFolder } from './process'
import { oncePerRun } from './shared'

/** PostgreSQL from Debian's packages, on a cluster of its own in a temporary folder. */

const START_MS = 60_000

export interface PostgresServer extends Server {
  /** May do everything. Any password, or none, lets it in. */
  username: string
  database: string
}

/** The PostgreSQL of this test run; a test must use tables of its own, and leave it running. */
export const startPostgres = oncePerRun<SharedServer<PostgresServer>>('postgresql', startOwnPostgres)

/** Another one, for a test that stops it. */
export async function startOwnPostgres(): Promise<PostgresServer> {
  const { initdb, postgres } = await installPostgres()
  const port = await freePort()
  const folder = serverFolder('postgresql')
  const data = join(folder, 'data')
  const username = 'milo_test'
  // It refuses to run as root.
  const asNobody: string[] = []
  if (process.getuid!() === 0) {
    const [user, group] = (await run('getent', ['passwd', 'nobody'])).split(':').slice(2, 4).map(Number)
    chownSync(folder, user!, group!)
    asNobody.push('setpriv', `--reuid=${user}`, `--regid=${group}`, '--clear-groups')
  }
  const [first, ...rest] = [
    ...asNobody,
    initdb,
    '-D',
    data,
    '-U',
    username,
    '--auth=trust',
    '--no-sync',
    '-E',
    'UTF8',
    '--no-locale',
  ]
  await run(first!, rest, { cwd: folder })
  writeFileSync(
    join(data, 'postgresql.auto.conf'),
    `listen_addresses = '127.0.0.1'
port = ${port}
unix_socket_directories = '${folder}'
fsync = off
shared_buffers = 16MB
max_connections = 50
`,
  )
  const server = new RunningServer({
    name: 'PostgreSQL',
    folder,
    command: [...asNobody, postgres, '-D', data],
    ports: [port],
    ready: /ready to accept connections/,
    startMs: START_MS,
  })
  await server.start()
  return { host: '127.0.0.1', port, username, database: 'postgres', external: false, ...controls(server) }
}

const FOLDER = '/usr/lib/postgresql'

/** The programs' paths: Debian keeps each version's in a folder of its own, out of the PATH. */
async function installPostgres(): Promise<{ initdb: string; postgres: string }> {
  const find = () => {
    const [folder = ''] = debianFolders()
    const program = (name: string) => which(name) ?? [join(folder, name)].find(existsSync)
    return { initdb: program('initdb'), postgres: program('postgres') }
  }
  if (Object.values(find()).includes(undefined)) await apt(['postgresql'], '')
  const { initdb, postgres } = find()
  if (initdb === undefined || postgres === undefined)
    throw new Error(`initdb and postgres aren't below ${FOLDER} after installing postgresql`)
  return { initdb, postgres }
}

/** The newest version first. */
function debianFolders(): string[] {
  try {
    return readdirSync(FOLDER)
      .sort((a, b) => Number(b) - Number(a))
      .map(version => join(FOLDER, version, 'bin'))
  } catch {
    return []
  }
}
