-- The embedded store. A migration runs in one transaction; PRAGMA user_version holds the number of the last one.

-- Messages as senders sent them, whole: each is written once and never changed. What finds their records is made in segments,
-- for many messages at once and some time after they were accepted: see collector/src/store/embedded/segments/format.ts.
CREATE TABLE message (
  id INTEGER PRIMARY KEY,          -- in the order of arrival; it isn't a time, since a clock may have been wrong
  body BLOB NOT NULL,              -- span records: i32 0x8badf00d, i32 length, Span struct; one after the other
  received_us INTEGER NOT NULL     -- microseconds since 1970, by a clock that may have been wrong
);

-- One row.
CREATE TABLE progress (
  id INTEGER PRIMARY KEY CHECK (id = 0),
  settled INTEGER NOT NULL,        -- messages up to this one are in segments
  retired INTEGER NOT NULL,        -- messages up to this one are gone, or going
  age_us INTEGER,                  -- the clock of retention: see Ages in collector/src/store/pipeline/clock.ts; NULL in a new file
  age_wall_us INTEGER              -- the wall clock at that moment
);
INSERT INTO progress (id, settled, retired) VALUES (0, 0, 0);

CREATE TABLE segment (
  id INTEGER PRIMARY KEY,
  live INTEGER NOT NULL,           -- 1, or 0 while it is being made or taken away
  first_message INTEGER NOT NULL,
  last_message INTEGER NOT NULL,
  records INTEGER NOT NULL,
  blocks INTEGER NOT NULL,
  first_us INTEGER NOT NULL,       -- the first record's start, microseconds since 1970
  last_us INTEGER NOT NULL,        -- the last record's start
  age_us INTEGER NOT NULL          -- when its last message was settled, by the clock of retention
);

-- Starts, traces, spans and durations of 4096 records of a segment.
CREATE TABLE chunk (
  id INTEGER PRIMARY KEY,          -- segment × 2^24 + number
  first_us INTEGER NOT NULL,       -- the first record's start
  longest_us INTEGER NOT NULL,     -- the longest duration
  data BLOB NOT NULL
);

-- Terms and where they occur.
CREATE TABLE block (
  id INTEGER PRIMARY KEY,          -- segment × 2^24 + number, in the order of the terms
  data BLOB NOT NULL
);

-- Where a term is: in the last block whose first term isn't behind it.
CREATE TABLE directory (
  segment INTEGER NOT NULL,
  field BLOB NOT NULL,             -- the kind of term, and for values the key
  first BLOB NOT NULL,             -- the first term
  block INTEGER NOT NULL,          -- number in the segment
  PRIMARY KEY (segment, field, first, block)
) WITHOUT ROWID;

-- What services did, by the minute; written with the segment of the spans, so that every span counts once.
CREATE TABLE activity (
  minute INTEGER NOT NULL,         -- since 1970
  part TEXT NOT NULL,              -- of the counter: what it counts later takes this row's place
  body TEXT NOT NULL,              -- JSON, see collector/src/store/activity/activity.ts
  PRIMARY KEY (minute, part)
) WITHOUT ROWID;

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
