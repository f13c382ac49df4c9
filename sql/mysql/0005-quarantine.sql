-- Records that were accepted and that one of the databases refuses for good, as they came: see docs/operations.md.
CREATE TABLE IF NOT EXISTS quarantine (
  collector VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'collector_id',
  message BIGINT NOT NULL COMMENT 'its number',
  start INT NOT NULL COMMENT 'of the record, in the message',
  piece INT NOT NULL COMMENT 'where this piece of it begins',
  reason TEXT NOT NULL COMMENT 'what the database said',
  body MEDIUMBLOB NOT NULL COMMENT 'a span record: i32 0x8badf00d, i32 length, Span struct',
  day SMALLINT UNSIGNED NOT NULL COMMENT 'of receipt, since 1970',
  PRIMARY KEY (collector, message, start, piece)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT = 'What can not be stored elsewhere';
