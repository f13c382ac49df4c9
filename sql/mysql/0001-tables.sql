-- The cassandra-mysql store in MySQL 8 or MariaDB 10.11: the index by which spans are found, and what collectors tell each
-- other. DDL is committed at once here, so a migration may stop half way: each statement must be able to run again. A
-- statement ends with a semicolon at a line's end.
--
-- Every row of the index follows from a record and from the day on which it was received, so writing a row twice changes
-- nothing. Partitions are days of receipt, not days of the spans' times, which may be anything: a day that is over is dropped
-- when its spans expire in Cassandra. `migrate` and running collectors make the days ahead, by splitting "later".
--
-- Strings are numbers here: 32 bits of a hash for a name, a service or a key, 52 bits for a value with its key. dict has the
-- strings.

CREATE TABLE IF NOT EXISTS span_idx (
  ts BIGINT NOT NULL COMMENT 'the start in microseconds since 1970; the time of receipt for a record without times',
  trace_id BIGINT NOT NULL COMMENT 'the low 64 bits, signed',
  span_id BIGINT NOT NULL,
  name_id INT UNSIGNED NOT NULL COMMENT 'of dict, scope 1; 0 without a name',
  service_id INT UNSIGNED NOT NULL COMMENT 'of dict, scope 2; 0 without a service',
  duration BIGINT NOT NULL COMMENT 'microseconds; -1 for a record without times',
  day SMALLINT UNSIGNED NOT NULL COMMENT 'of receipt, since 1970',
  PRIMARY KEY (ts, trace_id, span_id, name_id, service_id, duration, day),
  KEY by_name (name_id, ts, trace_id),
  KEY by_service (service_id, ts, trace_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
  COMMENT = 'Records: both halves of a span have their own row'
  PARTITION BY RANGE (day) (PARTITION later VALUES LESS THAN MAXVALUE);

CREATE TABLE IF NOT EXISTS post (
  kv BIGINT NOT NULL COMMENT 'hash of an annotation''s key and value; 4 stands for an error',
  ts BIGINT NOT NULL COMMENT 'as in span_idx',
  trace_id BIGINT NOT NULL,
  span_id BIGINT NOT NULL,
  day SMALLINT UNSIGNED NOT NULL,
  key_id INT UNSIGNED NOT NULL COMMENT 'of dict, scope 3; 4 for an error',
  PRIMARY KEY (kv, ts, trace_id, span_id, day),
  KEY by_key (key_id, ts, trace_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
  COMMENT = 'Annotations of records'
  PARTITION BY RANGE (day) (PARTITION later VALUES LESS THAN MAXVALUE);

-- What the records of a trace can be found by, together, and where they are in Cassandra: a row for each message that brought
-- some of the trace, where span_idx and post have a row for each record and annotation.
CREATE TABLE IF NOT EXISTS trace_terms (
  trace_id BIGINT NOT NULL COMMENT 'the low 64 bits, signed',
  slot BIGINT NOT NULL COMMENT 'of spans in Cassandra: the second in which the message was accepted',
  collector INT NOT NULL COMMENT 'of spans in Cassandra: 32 bits of a hash of collector_id',
  uid BIGINT NOT NULL COMMENT 'hash of what follows: what is written twice in a slot is one row',
  day SMALLINT UNSIGNED NOT NULL COMMENT 'of receipt, since 1970',
  duration BIGINT NOT NULL COMMENT 'of the longest record, in microseconds; -1 when none has times',
  terms VARBINARY(4000) NOT NULL COMMENT '7 bytes each, of post: kv; of dict: id of names, services and keys',
  PRIMARY KEY (trace_id, slot, collector, uid, day)
) ENGINE = InnoDB COMMENT = 'What a trace has, and where it is'
  PARTITION BY RANGE (day) (PARTITION later VALUES LESS THAN MAXVALUE);

CREATE TABLE IF NOT EXISTS dict (
  id BIGINT NOT NULL COMMENT 'scope * 2^32 + name_id, service_id or key_id; kv for a value',
  day SMALLINT UNSIGNED NOT NULL COMMENT 'on which it was received at least once',
  scope INT UNSIGNED NOT NULL COMMENT '1 a name, 2 a service, 3 a key; for a value its key''s key_id',
  text TEXT NOT NULL COMMENT 'of long strings the beginning: index.value_length',
  PRIMARY KEY (id, day),
  KEY by_text (scope, text(24))
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
  COMMENT = 'Strings, for the comparison of parts and for completion'
  PARTITION BY RANGE (day) (PARTITION later VALUES LESS THAN MAXVALUE);

CREATE TABLE IF NOT EXISTS checkpoint (
  collector VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'collector_id',
  seq BIGINT NOT NULL COMMENT 'up to this number its journal is settled',
  PRIMARY KEY (collector)
) ENGINE = InnoDB COMMENT = 'How far collectors have come with their journals';

CREATE TABLE IF NOT EXISTS activity (
  minute BIGINT NOT NULL COMMENT 'since 1970, of the spans'' own times, which may be anything',
  part CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'of the counter: what it counts later takes this row''s place',
  body MEDIUMTEXT NOT NULL COMMENT 'JSON, see collector/src/store/activity/activity.ts',
  PRIMARY KEY (minute, part)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
  COMMENT = 'What services did, by the minute; written with the checkpoint, so that every span counts once';

CREATE TABLE IF NOT EXISTS quarantine (
  collector VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'collector_id',
  message BIGINT NOT NULL COMMENT 'its number',
  uid BIGINT NOT NULL COMMENT 'hash of the record',
  piece INT NOT NULL COMMENT 'where this piece of it begins',
  reason TEXT NOT NULL COMMENT 'what the database said',
  body MEDIUMBLOB NOT NULL COMMENT 'a span record: i32 0x8badf00d, i32 length, Span struct',
  day SMALLINT UNSIGNED NOT NULL COMMENT 'of receipt, since 1970',
  PRIMARY KEY (collector, message, uid, piece)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
  COMMENT = 'Records that were accepted and that one of the databases refuses for good: see docs/operations.md';

CREATE TABLE IF NOT EXISTS saved_search (
  id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  name TEXT NOT NULL,
  query TEXT NOT NULL COMMENT 'as in the address of the web interface',
  span_name TEXT COMMENT 'the parts of the query that the view saved_searches shows',
  annotation_key TEXT,
  annotation_value TEXT,
  created_us BIGINT NOT NULL COMMENT 'microseconds since 1970',
  PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT = 'Searches that people keep';

CREATE TABLE IF NOT EXISTS health (
  id INT NOT NULL,
  checked_us BIGINT NOT NULL COMMENT 'microseconds since 1970',
  PRIMARY KEY (id)
) ENGINE = InnoDB COMMENT = 'One row, written to see whether anything can be written';

-- The tables of the original Milo, as views for those who query them. Where its own tables are in this database they stay,
-- and there is no view.

CREATE VIEW traces AS
  SELECT trace_id, FROM_UNIXTIME(MIN(ts) / 1000000) AS date_created FROM span_idx GROUP BY trace_id;

CREATE VIEW annotations AS
  SELECT p.trace_id, p.span_id, n.text AS name, k.text AS annotation_name, v.text AS annotation_value,
         FROM_UNIXTIME(p.ts / 1000000) AS date_created
  FROM post p
  JOIN dict v ON v.id = p.kv AND v.day = p.day
  JOIN dict k ON k.id = 12884901888 + p.key_id AND k.day = p.day
  JOIN span_idx s ON s.ts = p.ts AND s.trace_id = p.trace_id AND s.span_id = p.span_id AND s.day = p.day
  LEFT JOIN dict n ON n.id = 4294967296 + s.name_id AND n.day = s.day;

CREATE VIEW saved_searches AS
  SELECT id, name AS search_name, span_name AS name, annotation_key AS `key`, annotation_value AS value,
         FROM_UNIXTIME(created_us / 1000000) AS date_created
  FROM saved_search;
