-- What is kept after the fact: see docs/operations.md. Rows go after retention_days, and the oldest ones above 250,000.

CREATE TABLE keeps (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at_us INTEGER NOT NULL,          -- microseconds since 1970
  kind INTEGER NOT NULL,           -- 0: a trace; 1: the next traces of an operation
  id INTEGER NOT NULL,             -- the low 64 bits of the trace id; of an operation the first 8 bytes of sha256(service, NUL, name)
  n INTEGER NOT NULL,              -- of an operation: how many traces each process keeps
  reason TEXT NOT NULL,            -- error, slow, lateral, requested, or a word of the application's
  service TEXT NOT NULL,           -- of the span whose process kept the trace, or of the operation
  name TEXT NOT NULL,
  asker TEXT NOT NULL,             -- who asked for it, if a person did
  collector TEXT NOT NULL,         -- the collector_id of the one that told it
  origin INTEGER NOT NULL          -- a random number of its process
);
CREATE INDEX keeps_by_time ON keeps (at_us);
CREATE INDEX keeps_by_id ON keeps (id);

-- Processes with a history that ask what to keep.
CREATE TABLE ring (
  hour INTEGER NOT NULL,           -- hours since 1970
  process INTEGER NOT NULL,        -- a random number of the process
  service TEXT NOT NULL,
  host TEXT NOT NULL,
  address TEXT NOT NULL,           -- where it asked from; empty if a relay told it
  first_us INTEGER NOT NULL,       -- when it was first seen in this hour, microseconds since 1970
  first_history_us INTEGER NOT NULL, -- when the oldest span of its history began then
  seen_us INTEGER NOT NULL,        -- when it was last seen in this hour
  history_us INTEGER NOT NULL,     -- when the oldest span of its history began then
  ended INTEGER NOT NULL,          -- 1 if it went away then
  PRIMARY KEY (hour, process)
) WITHOUT ROWID;
