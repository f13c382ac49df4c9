import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** The files of sql/, numbered from 1 without gaps. What is released is never changed again: a change is a new file. */
export interface Migration {
  version: number
  /** The file's name. */
  name: string
  sql: string
}

/** Those of one database, oldest first. */
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

/** For databases that take one statement at a time. Statements end with a semicolon at a line's end. */
export function statements({ sql }: Migration): string[] {
  return sql
    .split(/;[ \t]*$/m)
    .map(statement => statement.replace(/^\s*--.*$/gm, '').trim())
    .filter(statement => statement !== '')
}

/** Beside the bundle, where the build puts a copy; at the top of the repository when the sources run. */
function sqlFolder(): string {
  const built = join(__dirname, 'sql')
  return existsSync(built) ? built : join(__dirname, '../../../sql')
}
