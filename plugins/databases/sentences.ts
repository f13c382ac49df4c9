/**
 * Sentences of PostgreSQL, MySQL, MariaDB, Cassandra, Redis and their libraries that are told as they stand here. A `*` is what differs
 * from one to the next: it may be a value, and is told only where it is known to be a name. A `~` is always a value, and never told.
 */
const SENTENCES = `
SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a string
SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a non-empty string
The server does not support SSL connections
Client has encountered a connection error and is not queryable
Client was closed and is not queryable
Cannot use a pool after calling end on the pool
remaining connection slots are reserved for non-replication superuser connections
remaining connection slots are reserved for roles with privileges of the "*" role
sorry, too many clients already
too many connections for role "*"
too many connections for database "*"
no pg_hba.conf entry for host "*", user "*", database "*", *
password authentication failed for user "*"
role "*" does not exist
database "*" does not exist
the database system is starting up
the database system is shutting down
the database system is in recovery mode
the database system is not yet accepting connections
terminating connection due to idle-in-transaction timeout
terminating connection due to idle-session timeout
canceling statement due to conflict with recovery
could not serialize access due to read/write dependencies among transactions
could not obtain lock on row in relation "*"
could not obtain lock on relation "*"
current transaction is aborted, commands ignored until end of transaction block
column reference "*" is ambiguous
column "*" must appear in the GROUP BY clause or be used in an aggregate function
aggregate functions are not allowed in WHERE
more than one row returned by a subquery used as an expression
function * does not exist
function * is not unique
missing FROM-clause entry for table "*"
invalid reference to FROM-clause entry for table "*"
bind message supplies * parameters, but prepared statement "*" requires *
there is no parameter *
could not determine data type of parameter *
invalid byte sequence for encoding "*": ~
unsupported Unicode escape sequence
invalid input value for enum *: "~"
malformed array literal: "~"
new row violates row-level security policy for table "*"
out of shared memory
could not extend file "*": No space left on device
ON CONFLICT DO UPDATE command cannot affect row a second time
case not found
cached plan must not change result type
prepared statement "*" already exists
prepared statement "*" does not exist
query_wait_timeout
unterminated quoted string at or near "*"
Too many connections
Access denied for user '*'@'*' (using password: *)
Host '*' is blocked because of many connection errors; unblock with '*'
Host '*' is not allowed to connect to this MariaDB server
Host '*' is not allowed to connect to this MySQL server
Got a packet bigger than 'max_allowed_packet' bytes
Query execution was interrupted
Query execution was interrupted, maximum statement execution time exceeded
Query execution was interrupted (max_statement_time exceeded)
Statement aborted because lock(s) could not be acquired immediately and NOWAIT is set.
No database selected
Field '*' doesn't have a default value
Column '*' cannot be null
Data too long for column '*' at row *
Data truncated for column '*' at row *
Out of range value for column '*' at row *
Incorrect integer value: '~' for column * at row *
Incorrect decimal value: '~' for column * at row *
Incorrect double value: '~' for column * at row *
Incorrect datetime value: '~' for column * at row *
Incorrect date value: '~' for column * at row *
Incorrect time value: '~' for column * at row *
Incorrect string value: '~' for column * at row *
Duplicate entry '~' for key '*'
Cannot add or update a child row: a foreign key constraint fails (*)
Cannot delete or update a parent row: a foreign key constraint fails (*)
Cannot truncate a table referenced in a foreign key constraint (*)
Subquery returns more than 1 row
Operand should contain 1 column(s)
Invalid use of group function
Division by 0
Incorrect arguments to mysqld_stmt_execute
Bind parameters must not contain undefined. To pass SQL NULL specify JS null
Commands out of sync; you can't run this command now
Server has gone away
Prepared statement needs to be re-prepared
Record has changed since last read in table '*'
CONSTRAINT * failed for *
Check constraint '*' is violated.
Sort aborted: Out of sort memory
Out of memory (Needed * bytes)
The total number of locks exceeds the lock table size
The MySQL server is running with the * option so it cannot execute this statement
The MariaDB server is running with the * option so it cannot execute this statement
Illegal mix of collations (*) and (*) for operation '*'
Expression #* of SELECT list is not in GROUP BY clause and contains nonaggregated column '*' which is not functionally dependent on columns in GROUP BY clause; *
* command denied to user '*'@'*' for table *
Client does not support authentication protocol requested by server; consider upgrading *
Unknown prepared statement handler (*) given to *
XA_RBDEADLOCK: Transaction branch was rolled back: deadlock was detected
MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.*
MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.
OOM command not allowed when used memory > 'maxmemory'.
BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.
CLUSTERDOWN The cluster is down
CLUSTERDOWN Hash slot not served
NOREPLICAS Not enough good replicas to write.
BUSYGROUP Consumer Group name already exists
NOGROUP No such key '*' or consumer group '*' in XREADGROUP with GROUP option
UNBLOCKED client unblocked via CLIENT UNBLOCK
TRYAGAIN Multiple keys request during rehashing of slot
NOPERM this user has no permissions to run the '*' command
NOPERM this user has no permissions to access one of the keys used as arguments
NOPERM User * has no permissions to run the '*' command
ERR DB index is out of range
ERR increment or decrement would overflow
ERR string exceeds maximum allowed size (proto-max-bulk-len)
ERR The ID specified in XADD is equal or smaller than the target stream top item
ERR invalid expire time in '*' command
ERR source and destination objects are the same
ERR MULTI calls can not be nested
ERR EXEC without MULTI
ERR offset is out of range
ERR bit offset is not an integer or out of range
ERR XX and NX options at the same time are not compatible
ERR GT, LT, and/or NX options at the same time are not compatible
ERR Can't execute '*': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context
Reached the max retries per request limit (which is *). Refer to "maxRetriesPerRequest" option for details.
Too many Cluster redirections. Last error: *
ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?
Failed to refresh slots cache.
None of startup nodes is available
Connection is in subscriber mode, only subscriber commands may be used
All sentinels are unreachable. Retrying from scratch after *ms.
unconfigured table *
Invalid amount of bind variables
Some partition key parts are missing: *
Some clustering keys are missing: *
Unknown identifier *
User * has no * permission on * or any of its parents
Provided username * and/or password are incorrect
Cannot achieve consistency level *
localDataCenter was configured as '*', but only found hosts in data centers: [*]
ORDER BY is only supported when the partition key is restricted by an EQ or an IN.
The query has * parameters but * were provided
Conditional updates are not supported in unlogged batches
Missing mandatory PRIMARY KEY part *
Expected * or 0 byte *
Cannot use selection function * on PRIMARY KEY part *
Multi-column relations can only be applied to clustering columns but was applied to: *
IN predicates on non-primary-key columns (*) is not yet supported
Materialized views are disabled. Enable in cassandra.yaml to use.
Only EQ and IN relation are supported on the partition key (unless you use the token() function)
No keyspace has been specified. USE a keyspace, or explicitly specify keyspace.tablename
Prepared query with ID * not found *
Client is shutting down
You have not logged in
Unable to authorize user: *
Session expired
`

const SPECIAL = /[.*+?^${}()|[\]\\]/g

/** Each with its parts between the slots, and what finds the slots: bounded, and within quotes up to the next one. */
const known = SENTENCES.split('\n')
  .filter(line => line !== '')
  .map(line => {
    const parts = line.split(/[*~]/)
    const slots = line.match(/[*~]/g) ?? []
    const escaped = parts.map(part => part.replace(SPECIAL, '\\$&'))
    const pattern = escaped.reduce((all, part) => {
      const quote = /^['"]/.exec(part)?.[0]
      const slot = quote === undefined ? '.{0,256}?' : `[^${quote}]{0,256}`
      return `${all}(${part === '' ? '.*' : slot})${part}`
    })
    return { parts, slots, pattern: new RegExp(`^${pattern}$`, 's') }
  })

/**
 * @param name what is told of a slot's text
 * @returns the sentence, or undefined if the message is none
 */
export function knownSentence(message: string, name: (text: string) => string): string | undefined {
  for (const { parts, slots, pattern } of known) {
    // Most don't even begin so.
    if (!message.startsWith(parts[0]!)) continue
    const found = pattern.exec(message)
    if (found === null) continue
    const tell = (text: string, i: number) => (slots[i - 1] === '~' ? '…' : name(text))
    return parts.reduce((told, part, i) => told + (found[i] && tell(found[i], i)) + part)
  }
  return undefined
}
