-- What is kept after the fact: see docs/operations.md. Rows go after retention_days, and the oldest ones above 250,000.

CREATE TABLE IF NOT EXISTS keeps (
  seq BIGINT NOT NULL AUTO_INCREMENT COMMENT 'rises, but rows become visible out of order',
  at_us BIGINT NOT NULL COMMENT 'microseconds since 1970',
  kind TINYINT NOT NULL COMMENT '0: a trace; 1: the next traces of an operation',
  id BIGINT NOT NULL COMMENT 'the low 64 bits of the trace id; of an operation the first 8 bytes of sha256(service, NUL, name)',
  n TINYINT UNSIGNED NOT NULL COMMENT 'of an operation: how many traces each process keeps',
  reason VARCHAR(64) NOT NULL COMMENT 'error, slow, lateral, requested, or a word of the application''s',
  service VARCHAR(200) NOT NULL COMMENT 'of the span whose process kept the trace, or of the operation',
  name VARCHAR(200) NOT NULL,
  asker VARCHAR(200) NOT NULL COMMENT 'who asked for it, if a person did',
  collector VARCHAR(255) NOT NULL COMMENT 'the collector_id of the one that told it',
  origin BIGINT NOT NULL COMMENT 'a random number of its process',
  PRIMARY KEY (seq),
  KEY keeps_by_time (at_us),
  KEY keeps_by_id (id)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT = 'Traces that processes were asked for after the fact';

CREATE TABLE IF NOT EXISTS ring (
  hour INT NOT NULL COMMENT 'hours since 1970',
  process BIGINT NOT NULL COMMENT 'a random number of the process',
  service VARCHAR(200) NOT NULL,
  host VARCHAR(200) NOT NULL,
  address VARCHAR(200) NOT NULL COMMENT 'where it asked from; empty if a relay told it',
  first_us BIGINT NOT NULL COMMENT 'when it was first seen in this hour, microseconds since 1970',
  first_history_us BIGINT NOT NULL COMMENT 'when the oldest span of its history began then',
  seen_us BIGINT NOT NULL COMMENT 'when it was last seen in this hour',
  history_us BIGINT NOT NULL COMMENT 'when the oldest span of its history began then',
  ended TINYINT NOT NULL COMMENT '1 if it went away then',
  PRIMARY KEY (hour, process)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT = 'Processes with a history that ask what to keep';
