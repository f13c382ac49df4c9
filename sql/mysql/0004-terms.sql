-- What the records of a trace can be found by, together: whether a trace has several things is read here in one row for
-- each message that brought some of it, where by_trace of span_idx and of post took a row for each record and annotation.
--
-- by_trace stays for as long as there may be traces without rows here, which is for older collectors too: until what was
-- received before this migration has expired. Then, and in a database without spans at once, collectors drop it.
CREATE TABLE IF NOT EXISTS trace_terms (
  trace_id BIGINT NOT NULL COMMENT 'the low 64 bits, signed',
  uid BIGINT NOT NULL COMMENT 'hash of what follows: what is written twice is one row',
  day SMALLINT UNSIGNED NOT NULL COMMENT 'of receipt, since 1970',
  duration BIGINT NOT NULL COMMENT 'of the longest record, in microseconds; -1 when none has times',
  terms VARBINARY(4000) NOT NULL COMMENT '7 bytes each, of post: kv; of dict: id of names, services and keys',
  PRIMARY KEY (trace_id, uid, day)
) ENGINE = InnoDB COMMENT = 'What a trace has'
  PARTITION BY RANGE (day) (PARTITION later VALUES LESS THAN MAXVALUE);
