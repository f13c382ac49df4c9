-- Ids of messages are an order and no time any more, since a clock that was once wrong would be wrong in them for ever.

-- Microseconds since 1970, by a clock that may have been wrong; NULL for older messages, whose ids say it (see 0002).
ALTER TABLE message ADD COLUMN received_us INTEGER;

-- Retention goes by ages: see Ages in collector/src/store/clock.ts.
ALTER TABLE progress ADD COLUMN age_us INTEGER;
ALTER TABLE progress ADD COLUMN age_wall_us INTEGER;
ALTER TABLE segment ADD COLUMN age_us INTEGER;   -- when its last message was settled; NULL for older ones

-- Records that were accepted and can't be indexed.
CREATE TABLE quarantine (
  message INTEGER NOT NULL,
  start INTEGER NOT NULL,          -- of the record, in the message
  reason TEXT NOT NULL,
  record BLOB NOT NULL,            -- i32 0x8badf00d, i32 length, Span struct
  received_us INTEGER NOT NULL,
  age_us INTEGER NOT NULL,
  PRIMARY KEY (message, start)
);
