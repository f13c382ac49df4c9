import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { StoreError } from './store'

/** A file of sql/. Files are numbered from 1 without gaps. A released file never changes: each change is a new file. */
export interface Migration {
  version: number
  /** The file name. */
  name: string
  sql: string
}

/** Reads the migrations of one database, oldest first. */
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
 * Returns the migrations that a database lacks. A database that is newer than this program lacks none.
 * @param what the database's name in messages
 * @param setting the setting that names the database
 * @param applied the names in its table schema_migration, by version
 * @throws StoreError MILO_STORE_SCHEMA if other files than ours made the schema
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
      `${what} has the schema of a development version (${found}, where this milo-collector has ${name}), which can't be brought up to date: drop it, or set another ${setting}`,
    )
  }
  return all.filter(({ version }) => !applied.has(version))
}

/** Splits a migration for databases that take one statement at a time. Each statement ends with a semicolon at the end of a line. */
export function statements({ sql }: Migration): string[] {
  return sql
    .split(/;[ \t]*$/m)
    .map(statement => statement.replace(/^\s*--.*$/gm, '').trim())
    .filter(statement => statement !== '')
}

/** Returns the folder of the schemas: the build's copy beside the bundle or, when the sources run, the one at the top of the repository. */
function sqlFolder(): string {
  const built = join(__dirname, 'sql')
  return existsSync(built) ? built : join(__dirname, '../../../sql')
}
