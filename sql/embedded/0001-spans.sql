-- The embedded store. A migration runs in one transaction; PRAGMA user_version holds the number of the last one.

-- Messages as senders sent them, whole: each is written once and never again.
CREATE TABLE message (
  id INTEGER PRIMARY KEY,          -- in the order of arrival
  body BLOB NOT NULL               -- span records: i32 0x8badf00d, i32 length, Span struct; one after the other
);

-- Where a trace's records are.
CREATE TABLE pointer (
  trace_id INTEGER NOT NULL,       -- the low 64 bits, signed
  message_id INTEGER NOT NULL,
  ranges BLOB NOT NULL,            -- of that message's body: u32 start, u32 end (big-endian), for each record
  PRIMARY KEY (trace_id, message_id)
) WITHOUT ROWID;

-- What spans can be found by; see collector/src/store/terms.ts.
CREATE TABLE posting (
  term INTEGER NOT NULL,           -- 64 bits of a hash: of a name, a key, a value, or a key with its value
  trace_id INTEGER NOT NULL,
  span_id INTEGER NOT NULL,
  PRIMARY KEY (term, trace_id, span_id)
) WITHOUT ROWID;

-- The order in which traces are listed.
CREATE TABLE trace_start (
  trace_id INTEGER PRIMARY KEY,
  start_us INTEGER NOT NULL        -- the earliest span's, in microseconds since 1970; the time of receipt for a span without times
);
-- With the rowid, which trace_id is: so it is ordered by (start_us, trace_id).
CREATE INDEX trace_start_by_time ON trace_start (start_us);

-- One row, written to see whether anything can be.
CREATE TABLE health (
  id INTEGER PRIMARY KEY,
  checked_us INTEGER NOT NULL,     -- microseconds since 1970
  ballast BLOB NOT NULL            -- as much as a usual append takes, which must find room as well
);
