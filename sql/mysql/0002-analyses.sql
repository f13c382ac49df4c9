-- Results of offline analyses, as milo-collector load brings them: see docs/offline.md. A load has a number, and its pieces are written
-- under this number before the row of its window names it: readers see the results before or those after, and never a part. Pieces of a
-- load that no window names were left behind by a crash, and go after a day.

CREATE TABLE IF NOT EXISTS analysis (
  from_us BIGINT NOT NULL COMMENT 'the window: microseconds since 1970',
  to_us BIGINT NOT NULL COMMENT 'exclusive',
  `load` BIGINT NOT NULL,
  loaded_us BIGINT NOT NULL COMMENT 'microseconds since 1970: rows go analysis_days later',
  summary MEDIUMBLOB NOT NULL COMMENT 'the first line of the results, JSON',
  PRIMARY KEY (from_us, to_us)
) ENGINE = InnoDB COMMENT = 'Windows that were analysed';

CREATE TABLE IF NOT EXISTS analysis_piece (
  `load` BIGINT NOT NULL COMMENT 'when it began, in microseconds since 1970, × 1024, and a random number',
  kind VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'of the lines',
  root BIGINT NOT NULL COMMENT '64 bits of a hash of the root operation that the lines are about; 0 where they are about none',
  piece INT NOT NULL COMMENT 'from 0, in the order of the lines',
  body MEDIUMBLOB NOT NULL COMMENT 'lines of JSON, deflated',
  PRIMARY KEY (`load`, kind, root, piece)
) ENGINE = InnoDB COMMENT = 'The lines of the results';
