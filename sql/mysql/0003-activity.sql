CREATE TABLE IF NOT EXISTS activity (
  minute BIGINT NOT NULL COMMENT 'since 1970, of the spans'' own times, which may be anything',
  part CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'of the counter: what it counts later takes this row''s place',
  body MEDIUMTEXT NOT NULL COMMENT 'JSON, see collector/src/store/activity.ts',
  PRIMARY KEY (minute, part)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
  COMMENT = 'What services did, by the minute; written with the checkpoint, so that every span counts once';
