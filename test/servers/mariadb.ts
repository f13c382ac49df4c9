import { randomBytes } from 'node:crypto'
import { chownSync, copyFileSync, mkdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { createConnection } from 'mysql2/promise'
import { apt, run, which } from './install'
import { controls, freePort, RunningServer, type Server, type SharedServer, serverFolder } from './process'
import { oncePerRun } from './shared'

/** MariaDB from Debian's packages, which hold programs alone: no service is set up, nothing of the machine is touched. */

const START_MS = 60_000

export interface MariaDbServer extends Server {
  /** May create databases, and users with fewer rights. */
  username: string
  password: string
}

const DEFAULT_LOG_MIB = 96

/** The MariaDB of this test run; a test must use a database of its own, and leave it running. */
export const startMariaDb = oncePerRun<SharedServer<MariaDbServer>>('mariadb', () =>
  process.env.MILO_TEST_MYSQL ? externalMySql(process.env.MILO_TEST_MYSQL) : startOwnMariaDb(),
)

/**
 * Another one, for a test that stops it.
 * @param tls files in PEM, when connections may be encrypted
 * @param bufferPoolMiB enough for a test; what is measured deserves more, and gets a redo log of the same size
 */
export async function startOwnMariaDb({
  tls,
  bufferPoolMiB = 64,
}: {
  tls?: { cert: string; key: string }
  bufferPoolMiB?: number
} = {}): Promise<MariaDbServer> {
  const { daemon, installDb } = await installMariaDb()
  const port = await freePort()
  const folder = serverFolder('mariadb')
  const data = join(folder, 'data')
  mkdirSync(data)
  const files =
    tls === undefined ? [] : Object.entries(tls).map(([what, file]) => [what, join(folder, what), file] as const)
  for (const [, path, file] of files) copyFileSync(file, path)
  // mariadbd refuses to run as root.
  const asNobody: string[] = []
  if (process.getuid!() === 0) {
    const [user, group] = (await run('getent', ['passwd', 'nobody'])).split(':').slice(2, 4).map(Number)
    for (const path of [folder, data, ...files.map(([, path]) => path)]) chownSync(path, user!, group!)
    asNobody.push('setpriv', `--reuid=${user}`, `--regid=${group}`, '--clear-groups')
  }
  const [first, ...rest] = [
    ...asNobody,
    installDb,
    '--no-defaults',
    `--datadir=${data}`,
    '--auth-root-authentication-method=normal',
    '--skip-test-db',
    '--skip-name-resolve',
  ]
  // A starting mariadbd removes all temporary tables of its tmpdir, also those of one that is being installed beside it.
  await run(first!, rest, { cwd: folder, env: { ...process.env, TMPDIR: folder } })
  const server = new RunningServer({
    name: 'MariaDB',
    folder,
    command: [
      ...asNobody,
      daemon,
      '--no-defaults',
      `--datadir=${data}`,
      `--socket=${folder}/socket`,
      `--pid-file=${folder}/pid`,
      `--tmpdir=${folder}`,
      '--bind-address=127.0.0.1',
      `--port=${port}`,
      '--skip-name-resolve',
      '--skip-log-bin',
      '--character-set-server=utf8mb4',
      `--innodb-buffer-pool-size=${bufferPoolMiB}M`,
      `--innodb-log-file-size=${Math.max(bufferPoolMiB, DEFAULT_LOG_MIB)}M`,
      ...files.map(([what, path]) => `--ssl-${what}=${path}`),
    ],
    ports: [port!],
    ready: /ready for connections/,
    startMs: START_MS,
  })
  await server.start()
  const password = randomBytes(12).toString('hex')
  await createTestUser(port!, data, password)
  return {
    host: '127.0.0.1',
    port: port!,
    username: 'milo_test',
    password,
    external: false,
    ...controls(server),
  }
}

/** @throws when the server at that port isn't the one whose data folder we made: nothing has been written then */
async function createTestUser(port: number, data: string, password: string): Promise<void> {
  const root = await createConnection({ host: '127.0.0.1', port, user: 'root' })
  try {
    const [rows] = await root.query<any[]>('SELECT @@datadir AS datadir')
    const found = realpathSync(rows[0].datadir)
    if (found !== realpathSync(data))
      throw new Error(`Port ${port} is that of another MariaDB, with its data in ${found}`)
    await root.query("CREATE USER 'milo_test'@'127.0.0.1' IDENTIFIED BY ?", [password])
    await root.query("GRANT ALL ON *.* TO 'milo_test'@'127.0.0.1' WITH GRANT OPTION")
  } finally {
    await root.end()
  }
}

async function externalMySql(text: string): Promise<SharedServer<MariaDbServer>> {
  let url: URL
  try {
    url = new URL(text)
  } catch {
    throw new Error('MILO_TEST_MYSQL must be mysql://user:password@host:port')
  }
  return {
    host: url.hostname,
    port: Number(url.port || 3306),
    username: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    external: true,
  }
}

const REMEDY = 'set MILO_TEST_MYSQL=mysql://user:password@host:port of a server in which tests may create databases'

/** The programs' paths. */
export async function installMariaDb(): Promise<{ daemon: string; installDb: string }> {
  const find = () => ({ daemon: which('mariadbd'), installDb: which('mariadb-install-db') })
  if (Object.values(find()).includes(undefined)) await apt(['mariadb-server-core', 'mariadb-client-core'], REMEDY)
  const { daemon, installDb } = find()
  if (daemon === undefined || installDb === undefined) {
    throw new Error(`mariadbd and mariadb-install-db aren't on the PATH after installing them; ${REMEDY}`)
  }
  return { daemon, installDb }
}
