-- The index by which spans are found from now on; posting and trace_start, of 0001, are written by older collectors only,
-- and a later migration drops them. MySQL 8 and MariaDB 10.11.
--
-- Every row follows from a record and from the day on which it was received, so that writing one twice changes nothing.
-- Partitions are days of receipt, and not of the spans' times, which may be anything: a day that is over is dropped when its
-- spans expire in Cassandra. They are made by `migrate` and by running collectors, which split "later" days ahead.
--
-- Texts are numbers here: 32 bits of a hash for a name, a service or a key, 52 for a value with its key. dict has the texts.

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
  KEY by_service (service_id, ts, trace_id),
  KEY by_trace (trace_id, name_id, service_id)
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
  KEY by_key (key_id, ts, trace_id),
  KEY by_trace (trace_id, kv)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
  COMMENT = 'Annotations of records'
  PARTITION BY RANGE (day) (PARTITION later VALUES LESS THAN MAXVALUE);

CREATE TABLE IF NOT EXISTS dict (
  id BIGINT NOT NULL COMMENT 'scope * 2^32 + name_id, service_id or key_id; kv for a value',
  day SMALLINT UNSIGNED NOT NULL COMMENT 'on which it was received at least once',
  scope INT UNSIGNED NOT NULL COMMENT '1 a name, 2 a service, 3 a key; for a value its key''s key_id',
  text TEXT NOT NULL COMMENT 'of long ones the beginning: index.value_length',
  PRIMARY KEY (id, day),
  KEY by_text (scope, text(24))
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
  COMMENT = 'Texts, for the comparison of parts and for completion'
  PARTITION BY RANGE (day) (PARTITION later VALUES LESS THAN MAXVALUE);

CREATE TABLE IF NOT EXISTS checkpoint (
  collector VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'collector_id',
  seq BIGINT NOT NULL COMMENT 'up to this number its journal is settled',
  PRIMARY KEY (collector)
) ENGINE = InnoDB COMMENT 'How far collectors have come with their journals';

CREATE TABLE IF NOT EXISTS long_trace (
  trace_id BIGINT NOT NULL,
  spans BIGINT NOT NULL COMMENT 'written or about to be, at most',
  day SMALLINT UNSIGNED NOT NULL COMMENT 'of the last ones',
  PRIMARY KEY (trace_id)
) ENGINE = InnoDB COMMENT 'Traces that may outgrow a partition of Cassandra, and so go on in the next bucket';

CREATE TABLE IF NOT EXISTS saved_search (
  id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  name TEXT NOT NULL,
  query TEXT NOT NULL COMMENT 'in the words of the web interface''s address',
  span_name TEXT COMMENT 'of the query what the original knew, for saved_searches',
  annotation_key TEXT,
  annotation_value TEXT,
  created_us BIGINT NOT NULL COMMENT 'microseconds since 1970',
  PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT = 'Searches that people keep';

-- The original's tables, for those who query them. Where its own are in this database they stay, and there is no view.

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
