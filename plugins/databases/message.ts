import { knownSentence } from './sentences'
import { type Dialect, readStatement } from './statement'

/**
 * What of a database's message may be told: servers and their libraries repeat literals and parameters in theirs, in quotes and without.
 * A search for values always misses one, so only what is known is kept: whole sentences (sentences.ts); else the words below, a few
 * forms with numbers, and names, each behind a word that says what it names, which the statement has as a name and no literal of it
 * has. Whatever else comes first ends what is kept.
 */

/** As much of a value as a span takes. */
const MAX_MESSAGE = 4096
/** Of a longer statement no name is known: its words would have to be counted. */
const MAX_STATEMENT = 65_536

/**
 * @param names what else may be told behind such a word: the server says that these are names
 * @returns the message up to the first part that may be of a value
 */
export function plainMessage(message: string, statement: string, dialect: Dialect, names: unknown[] = []): string {
  const text = message.slice(0, MAX_MESSAGE)
  let all: Set<string> | undefined
  const known = (part: string) => knownName(part, (all ??= namesOf(statement, dialect, names)))
  const told = knownWords(text, dialect, known)
  return told.endsWith('…') ? (knownSentence(text, slot => known(slot) ?? '…') ?? told) : told
}

function knownWords(text: string, dialect: Dialect, known: (part: string) => string | undefined): string {
  let told = ''
  let end = 0
  let before = ''
  for (const { index, groups } of text.matchAll(PART)) {
    const { form, part = '', mark = '' } = groups!
    const word = part.toLowerCase()
    let kept: string | undefined = form ?? (WORDS.has(word) && before !== ':' ? part : undefined)
    if (kept === undefined && (NAMED.has(before) || (before === 'near' && dialect === 'postgresql'))) kept = known(part)
    told += text.slice(end, index)
    if (kept === undefined) return `${told}…`
    told += kept + mark
    end = index + (form ?? part + mark).length
    // What values stand behind, in quotes or not.
    before = mark.includes(':') ? ':' : mark === '' ? word : ''
  }
  return told + text.slice(end)
}

/** What a piece between spaces has as a name, if it is one that is known. What it is qualified with needn't be: a database by itself, say. */
function knownName(piece: string, known: Set<string>): string | undefined {
  const [, quote, name] = /^(["'`]?)([\w$.\u0080-\uffff]+)\1$/.exec(piece) ?? []
  const parts = name?.split('.') ?? []
  const isKnown = (part: string) => known.has(part.toLowerCase())
  if (!isKnown(parts.at(-1) ?? '')) return undefined
  return quote + parts.map(part => (isKnown(part) ? part : '…')).join('.') + quote
}

/** The words that the statement has outside its literals and comments, and nowhere else; and those that are given. */
function namesOf(statement: string, dialect: Dialect, names: unknown[]): Set<string> {
  const all = countsOf(statement.length > MAX_STATEMENT ? '' : statement)
  const outside = countsOf(readStatement(statement, dialect).text)
  const known = new Set(names.filter(name => typeof name === 'string').map(name => name.toLowerCase()))
  for (const [word, count] of outside) if (all.get(word) === count) known.add(word)
  return known
}

function countsOf(text: string): Map<string, number> {
  const counts = new Map<string, number>()
  for (const [word] of text.toLowerCase().matchAll(/[\w$\u0080-\uffff]+/g))
    counts.set(word, (counts.get(word) ?? 0) + 1)
  return counts
}

/** A form that has no value though it looks like one; or what stands between spaces, and the punctuation behind it. */
const PART = new RegExp(
  `(?<form>${[
    '(?<=^line )\\d+:\\d+(?= )',
    '(?<=\\bat (?:row|line|character) )\\d+$',
    '(?<=\\bhost )\\d{1,3}(?:\\.\\d{1,3}){3}:\\d{1,5}(?= )',
    '(?<=\\btimeout )\\d+ ms\\b',
    "(?<= in )'(?:[a-z]+ (?:list|clause|statement)|SELECT|WHERE|ON|ORDER BY|GROUP BY|HAVING)'$",
    '(?<=child row: )a foreign key constraint fails\\b',
    '(?<=^Connection lost: )The server closed the connection\\.',
  ].join('|')})|(?<part>\\S*[^\\s.,;:!]|\\S)(?<mark>[.,;:!]*)`,
  'g',
)

/** Behind these stands a name. */
const NAMED = new Set(
  `alias column command constraint cursor database for function index key keyspace name procedure relation schema sequence table
  trigger type view`.split(/\s+/),
)

/** Of messages of PostgreSQL, MySQL, MariaDB, Cassandra and Redis, and of their libraries; none that a bare value stands behind. */
const WORDS = new Set(
  `a aborted access achieve acquire active add administrator after against aggregate aggregation aggregations alias all allow allowed already
  also alternative ambiguous amount an and another any applied are argument arguments array arrays as asynchronous at attempt attempting
  attribute auth authenticate authentication authorized automatically available back base batch be because been before being below between
  bigint bind bit block blocks boolean bootstrapping both bound buffer busy but by bytea bytes cache call called can can't cancel canceled
  canceling cancelled cannot cast certificate change changed character characters check child clause client clients closed closing cluster
  clusterdown clustering collation collations column columns command commands commit compared comparison computed concurrent condition
  conditional conditions configuration conflict conflicting connect connected connecting connection connections consistency constant
  constraint contain contains context conversion convert coordinator copy correct correlated corresponds could couldn't count counter
  counters create crossslot current currently cursor cursors cyclic data database databases dataset date date/time datetime deadline
  deadlock declared default defined definition delete denied depend dependent depends despite detected did didn't different dimensions
  disabled discarded discover disk division do does doesn't doing domain don't double drop due duplicate during element empty enable enabled
  enableofflinequeue encoding end entries entry enum eof equal equality err error errors eval exactly exceeded exceeds except exclusion exec
  execabort execute executed execution exist existing exists expected expecting expects expired explicit expression expressions extension
  extraneous fail failed failing fails failure false family fatal fetch field fields filtering find first float for foreign format found
  from frozen full function functions generated get given greater group grouping had handshake has hash hasn't have having held hold holding
  host host(s) hosts id identity if illegal immutable implement implemented implicit in in-clause inactivity include incorrect index indexes
  inequality inet infinite initialized input insert inserted instead integer internal interrupted interval into invalid involve is isn't it
  its join json jsonb just key keys keyspace kill kind large lateral least length less level limit limitation limited line list load loading
  local lock locked locks long longer longitude,latitude lost made manual map mapping maps mariadb marked marshaling masterdown match
  matches matching materialized max maximum may memory message metadata method middle might min misconf mismatch mismatched missing mixed
  mode modified modify modifying monotonic more move moved multi-column multiple must mysql name named names near negative nested new no
  noauth node nodes non-counter non-primary nondeterministic none noperm noproto noscript not not-null null number numbers numeric object
  objects of offline on once one only oom open operand operands operation operations operator operators option options or order ordered
  ordering other out outer outside overflow overloaded owner package pair parameter parameters parent parse parsed part partial partition
  partitioned parts password pending per perform performance permission permitted persistent pipeline plan please policy pool position
  possible preceding precision predicate predicates prepare prepared previous primary privilege privileges procedure progress protocol
  provide provided queries query queryable queue quorum range rdb re-preparing reached read read-only read_only readonly reads real rebuild
  receive received recognized record recursive redis refer reference referenced references referencing refresh refused relation relational
  relations release remaining replica replicas replication reply request requested requests require required requires reserved reset respond
  response responses restart restarting restrict restricted restriction result results retries retry retrying return returned returning
  right rights role roles rollback rolled rolling row rows rule running same savepoint scalar schema scope script secondary see select
  self-signed sequence serial serialization serialize serialized server server's set sets several should shutdown shutting simple since
  single size slice slot slots smallint snapshot so socket some sorry sort specific specification specified specify sql starting state
  statement statements static still storage stored stream string structure subqueries subquery subset such superuser support supported
  suspended syntax system table tables take taken target temporary terminated terminating text than that the their then there this thread
  thus tier time timed timeout timestamp timestamptz timeuuid to token tombstones too transaction transactions tried trigger trigger's
  triggered truncate truncated try trying ttl tuple tuples two type types unable unavailable unbound undefined unexpected unexpectedly
  unique unkillable unknown unlogged unpredictability unpredictable unrecognized unset unsigned unsupported unterminated until update
  updated updates usable use used user user-defined username-password users using uuid valid value values varchar variable varint verify
  version viable view violated violates violation wait waiting want warning when where which while whole will window with within without
  work worker would write writeable writes writing wrong wrongpass wrongtype you your zero zone`.split(/\s+/),
)
