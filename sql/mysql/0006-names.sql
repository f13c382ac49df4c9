-- Names of what is kept after the fact have 256 characters, as names of spans have.

ALTER TABLE keeps
  MODIFY COLUMN service VARCHAR(256) NOT NULL COMMENT 'of the span whose process kept the trace, or of the operation',
  MODIFY COLUMN name VARCHAR(256) NOT NULL,
  MODIFY COLUMN asker VARCHAR(256) NOT NULL COMMENT 'who asked for it, if a person did';

ALTER TABLE ring
  MODIFY COLUMN service VARCHAR(256) NOT NULL,
  MODIFY COLUMN host VARCHAR(256) NOT NULL,
  MODIFY COLUMN address VARCHAR(256) NOT NULL COMMENT 'where it asked from; empty if a relay told it';
