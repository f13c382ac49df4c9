-- Results of offline analyses, as milo-collector load brings them: see docs/offline.md. A load has a number, and its pieces are written
-- under this number before the row of its window names it: readers see the results before or those after, and never a part. Pieces of a
-- load that no window names were left behind by a crash, and go.

CREATE TABLE analysis (
  from_us INTEGER NOT NULL,        -- the window: microseconds since 1970
  to_us INTEGER NOT NULL,          -- exclusive
  load INTEGER NOT NULL,
  loaded_us INTEGER NOT NULL,      -- microseconds since 1970: rows go analysis_days later
  summary BLOB NOT NULL,           -- the results' first line, JSON
  PRIMARY KEY (from_us, to_us)
);

CREATE TABLE analysis_piece (
  load INTEGER NOT NULL,           -- when it began, in microseconds since 1970, × 1024, and a random number
  kind TEXT NOT NULL,              -- of the lines
  root INTEGER NOT NULL,           -- 64 bits of a hash of the root operation that the lines are about; 0 where they are about none
  piece INTEGER NOT NULL,          -- from 0, in the order of the lines
  body BLOB NOT NULL,              -- lines of JSON, deflated
  PRIMARY KEY (load, kind, root, piece)
);
