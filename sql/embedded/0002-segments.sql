-- Messages stay where they are. What finds them is made in segments, for many messages at once and some time after they
-- were accepted: see collector/src/store/embedded/format.ts. What the first version wrote is indexed anew by the next start.

DROP TABLE posting;
DROP TABLE pointer;
DROP TABLE trace_start;

-- One row.
CREATE TABLE progress (
  id INTEGER PRIMARY KEY CHECK (id = 0),
  settled INTEGER NOT NULL,        -- messages up to this one are in segments
  retired INTEGER NOT NULL,        -- messages up to this one are gone, or going
  old_last INTEGER NOT NULL,       -- up to this one the ids of messages aren't the times of their receipt,
  old_us INTEGER NOT NULL          -- which was this at the latest; microseconds since 1970
);
INSERT INTO progress (id, settled, retired, old_last, old_us)
  SELECT 0, 0, 0, coalesce(max(id), 0), CAST(strftime('%s', 'now') AS INTEGER) * 1000000 FROM message;

-- From here on message.id is also the time of receipt: microseconds since 1970, or the next free number.

CREATE TABLE segment (
  id INTEGER PRIMARY KEY,
  live INTEGER NOT NULL,           -- 1, or 0 while it is being made or taken away
  first_message INTEGER NOT NULL,
  last_message INTEGER NOT NULL,
  records INTEGER NOT NULL,
  blocks INTEGER NOT NULL,
  first_us INTEGER NOT NULL,       -- the first record's start, microseconds since 1970
  last_us INTEGER NOT NULL         -- the last record's start
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

CREATE TABLE saved_search (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  query TEXT NOT NULL,             -- in the words of the web interface's address
  created_us INTEGER NOT NULL      -- microseconds since 1970
) WITHOUT ROWID;
