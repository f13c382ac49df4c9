-- The embedded store. A migration runs in one transaction; PRAGMA user_version holds the number of the last one.
-- The file may be read while a collector has it open, by sqlite3 for one: see docs/operations.md.

-- Messages as senders sent them, whole: each is written once and never changed. The index, which is everything in part, chunk,
-- value and index_N, is made of them for many messages at once, and some time after they were accepted.
CREATE TABLE message (
  id INTEGER PRIMARY KEY,          -- in the order of arrival; it isn't a time, since a clock may have been wrong
  body BLOB NOT NULL,              -- span records: i32 0x8badf00d, i32 length, Span struct; one after the other
  received_us INTEGER NOT NULL,    -- microseconds since 1970, by a clock that may have been wrong
  crc INTEGER                      -- CRC-32 of the body
);

-- One row.
CREATE TABLE progress (
  id INTEGER PRIMARY KEY CHECK (id = 0),
  settled INTEGER NOT NULL,        -- messages up to this one are indexed, and their activity is counted
  indexed INTEGER NOT NULL,        -- messages before this one are indexed, and of this one what stands before indexed_end
  indexed_end INTEGER NOT NULL,
  retired INTEGER NOT NULL,        -- messages up to this one are gone, or going
  age_us INTEGER,                  -- the clock of retention: see Ages in collector/src/store/pipeline/clock.ts; NULL in a new file
  age_wall_us INTEGER              -- the wall clock at that moment
);
INSERT INTO progress (id, settled, indexed, indexed_end, retired) VALUES (0, 0, 0, 0, 0);

-- The index is in parts, each of an eighth of the retention, which are removed as a whole. Those of part N are index_N, an FTS5
-- table of the words by which records and messages are found, and term_N, its words by fts5vocab.
-- Words are described in collector/src/store/embedded/index/tokens.ts.
CREATE TABLE part (
  id INTEGER PRIMARY KEY,
  live INTEGER NOT NULL,           -- 1, or 0 while it is being removed
  first_message INTEGER NOT NULL,
  first_offset INTEGER NOT NULL,   -- where in this message it begins
  last_message INTEGER NOT NULL,
  age_us INTEGER NOT NULL          -- when its last message was indexed, by the clock of retention
);

-- Starts, traces, spans and durations of the part's records, in the order of their numbers, which are the rows of index_N:
-- see collector/src/store/embedded/index/columns.ts.
CREATE TABLE chunk (
  id INTEGER PRIMARY KEY,          -- part × 2^40 + the first record's number
  rows INTEGER NOT NULL,
  first_us INTEGER NOT NULL,       -- the earliest start, microseconds since 1970
  last_us INTEGER NOT NULL,        -- the latest start
  longest_us INTEGER NOT NULL,     -- the longest duration
  data BLOB NOT NULL
);
CREATE INDEX chunk_by_time ON chunk (last_us, id, rows, first_us, longest_us);

-- The distinct values of a part, to find those that contain something. One may be there more than once.
CREATE TABLE value (
  id INTEGER PRIMARY KEY,
  part INTEGER NOT NULL,
  key BLOB NOT NULL,
  data BLOB NOT NULL               -- each with 0xff behind it
);
CREATE INDEX value_by_key ON value (part, key, id);

-- What services did: see collector/src/store/activity/ and docs/aggregation.md. Counters of operations, of the calls that a service
-- made, and of the calls that it answered, by stretches of time: a minute, ten of them, an hour, a day.
CREATE TABLE activity (
  grain INTEGER NOT NULL,          -- how long the stretch is: 1, 10, 60 or 1440 minutes
  time INTEGER NOT NULL,           -- its beginning since 1970, in units of the grain, by the spans' own times
  service BLOB NOT NULL,           -- UTF-8
  kind INTEGER NOT NULL,           -- 0 operations, 1 calls, 2 callers
  body BLOB NOT NULL,              -- see collector/src/store/activity/rows.ts
  UNIQUE (grain, time, service, kind)
);
CREATE INDEX activity_by_service ON activity (grain, service, time, kind);

-- What was counted with each checkpoint, in one transaction, so that every span counts once. Rows stay for ten minutes.
CREATE TABLE activity_settled (
  seq INTEGER PRIMARY KEY,         -- without gaps
  at_us INTEGER NOT NULL,          -- microseconds since 1970, by a clock that may have been wrong
  age_us INTEGER NOT NULL,         -- the same moment by the clock of retention
  delta BLOB NOT NULL,             -- counters, which are added to the rows of activity some seconds later
  recent BLOB NOT NULL             -- the records that were counted: see collector/src/store/activity/meter.ts
);

-- One row.
CREATE TABLE activity_progress (
  id INTEGER PRIMARY KEY CHECK (id = 0),
  settled INTEGER NOT NULL,        -- the last seq of activity_settled
  folded INTEGER NOT NULL,         -- deltas up to this seq are in the rows of activity
  rolled_10 INTEGER NOT NULL,      -- rows of ten minutes before this time are complete; what there is of later ones counts for nothing
  rolled_60 INTEGER NOT NULL,
  rolled_1440 INTEGER NOT NULL
);
INSERT INTO activity_progress VALUES (0, 0, 0, 0, 0, 0);

-- Records that were accepted and can't be indexed: see docs/operations.md.
CREATE TABLE quarantine (
  message INTEGER NOT NULL,
  start INTEGER NOT NULL,          -- of the record, in the message
  reason TEXT NOT NULL,
  record BLOB NOT NULL,            -- i32 0x8badf00d, i32 length, Span struct
  received_us INTEGER NOT NULL,
  age_us INTEGER NOT NULL,
  PRIMARY KEY (message, start)
);

CREATE TABLE saved_search (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  query TEXT NOT NULL,             -- as in the address of the web interface
  created_us INTEGER NOT NULL      -- microseconds since 1970
) WITHOUT ROWID;

-- One row, written to see whether anything can be written.
CREATE TABLE health (
  id INTEGER PRIMARY KEY,
  checked_us INTEGER NOT NULL,     -- microseconds since 1970
  ballast BLOB NOT NULL            -- as much as a usual append takes, which must find room as well
);

-- The views are for people: no collector asks them.

-- The records of the index. Their numbers are the rows of index_N.
CREATE VIEW record AS
WITH RECURSIVE
  place (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM place WHERE i + 1 < (SELECT max(rows) FROM chunk)),
  digit (k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM digit WHERE k < 16),
  columns (part, number, hex) AS (
    SELECT id >> 40, (id & 0xffffffffff) + i, hex(substr(data, 24 * i + 1, 24)) FROM chunk JOIN place ON i < rows
  )
SELECT
  part,
  number,
  lower(substr(hex, 17, 16)) AS trace_id,
  (SELECT sum((instr('0123456789ABCDEF', substr(hex, k, 1)) - 1) << (4 * (16 - k))) FROM digit) AS start_us,
  nullif(
    (SELECT sum((instr('0123456789ABCDEF', substr(hex, 40 + k, 1)) - 1) << (4 * (8 - k))) FROM digit WHERE k <= 8),
    0xffffffff
  ) AS duration_us                 -- NULL for a record without times
FROM columns;

CREATE VIEW traces AS
SELECT
  trace_id,
  datetime(min(start_us) / 1000000, 'unixepoch') AS start,
  count(*) AS records,
  max(duration_us) AS longest_us   -- of one record
FROM record GROUP BY trace_id;

CREATE VIEW messages_by_hour AS
SELECT
  strftime('%Y-%m-%d %H:00', received_us / 1000000, 'unixepoch') AS hour,
  count(*) AS messages,
  sum(length(body)) AS bytes
FROM message GROUP BY hour;
