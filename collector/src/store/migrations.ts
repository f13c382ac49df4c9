import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { StoreError } from './store'

/** The files of sql/, numbered from 1 without gaps. A released file is never changed again: a change is a new file. */
export interface Migration {
  version: number
  /** The file's name. */
  name: string
  sql: string
}

/** The migrations of one database, oldest first. */
export function migrations(database: 'embedded' | 'mysql' | 'cassandra'): Migration[] {
  const folder = join(sqlFolder(), database)
  return readdirSync(folder)
    .filter(name => /^\d{4}-.*\.(sql|cql)$/.test(name))
    .sort()
    .map(name => ({ version: Number(name.slice(0, 4)), name, sql: readFileSync(join(folder, name), 'utf8') }))
}

export function newestVersion(all: Migration[]): number {
  return all.at(-1)!.version
}

/**
 * The migrations that a database lacks. A database that is ahead of this program lacks none.
 * @param what the database, as messages name it
 * @param setting where it is named in the configuration
 * @param applied the names in its table schema_migration, by version
 * @throws StoreError MILO_STORE_SCHEMA when other files than ours made the schema
 */
export function missingMigrations(
  all: Migration[],
  what: string,
  setting: string,
  applied: Map<number, string>,
): Migration[] {
  for (const { version, name } of all) {
    const found = applied.get(version) ?? name
    if (found === name) continue
    throw new StoreError(
      'MILO_STORE_SCHEMA',
      `${what} has the schema of a development version (${found}, where this milo-collector has ${name}), which can't be brought up to date: drop it, or give another ${setting}`,
    )
  }
  return all.filter(({ version }) => !applied.has(version))
}

/** For databases that take one statement at a time. Statements end with a semicolon at a line's end. */
export function statements({ sql }: Migration): string[] {
  return sql
    .split(/;[ \t]*$/m)
    .map(statement => statement.replace(/^\s*--.*$/gm, '').trim())
    .filter(statement => statement !== '')
}

/** The folder of the schemas: beside the bundle, where the build puts a copy, or at the top of the repository when the sources run. */
function sqlFolder(): string {
  const built = join(__dirname, 'sql')
  return existsSync(built) ? built : join(__dirname, '../../../sql')
}
