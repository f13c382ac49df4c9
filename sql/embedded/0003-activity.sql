-- What services did, by the minute; written with the segment of the spans, so that every one counts once.
CREATE TABLE activity (
  minute INTEGER NOT NULL,         -- since 1970
  part TEXT NOT NULL,              -- of the counter: what it counts later takes this row's place
  body TEXT NOT NULL,              -- JSON, see collector/src/store/activity.ts
  PRIMARY KEY (minute, part)
) WITHOUT ROWID;
