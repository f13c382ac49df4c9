-- The index of the cassandra-mysql store; MySQL 8 and MariaDB 10.11. DDL is committed at once here, so that a migration
-- may stop half way: each statement must be one that can run again. A statement ends with a semicolon at a line's end.
--
-- The names leave those of the original Milo free: traces, annotations, saved_searches.

CREATE TABLE IF NOT EXISTS posting (
  term BIGINT NOT NULL COMMENT '64 bits of a hash: of a name, a key, a value, or a key with its value',
  trace_id BIGINT NOT NULL COMMENT 'the low 64 bits, signed',
  span_id BIGINT NOT NULL,
  PRIMARY KEY (term, trace_id, span_id)
) ENGINE = InnoDB COMMENT 'What spans can be found by; see collector/src/store/terms.ts';

CREATE TABLE IF NOT EXISTS trace_start (
  trace_id BIGINT NOT NULL COMMENT 'the low 64 bits, signed',
  start_us BIGINT NOT NULL COMMENT 'the earliest span''s, in microseconds since 1970; the time of receipt for a span without times',
  PRIMARY KEY (trace_id),
  KEY by_time (start_us, trace_id)
) ENGINE = InnoDB COMMENT 'The order in which traces are listed';

CREATE TABLE IF NOT EXISTS health (
  id INT NOT NULL,
  checked_us BIGINT NOT NULL COMMENT 'microseconds since 1970',
  PRIMARY KEY (id)
) ENGINE = InnoDB COMMENT 'One row, written to see whether anything can be';
