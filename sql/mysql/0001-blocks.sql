-- The cassandra-mysql store in MySQL 8 or MariaDB 10.11: the index by which spans are found, and what collectors tell each
-- other. DDL is committed at once here, so a migration may stop half way: each statement must be able to run again. A
-- statement ends with a semicolon at a line's end.
--
-- Every row of the index follows from the messages that were settled together and from the day on which they were received, so writing
-- a row twice changes nothing. If they are settled again in other portions, the same places are there in other rows too. Partitions are days of receipt, not days of the spans' times, which may be anything: a day that is over is dropped
-- when its spans expire in Cassandra. `migrate` and running collectors make the days ahead, by splitting "later".
--
-- What the index is searched by is bytes that sort as they are, since MySQL reads them faster than numbers:
--
--   term, 7 bytes    01 a name, 02 a service, 03 a key, then 48 bits of a hash; 04 an error and 05 any record, then zeros;
--                    1 and 52 bits of a hash a key with its value. dict has the strings.
--   place            8 bytes the start in microseconds since 1970, of a record without times its time of receipt; 8 bytes the low
--                    64 bits of the trace id: both plus 2^63, so that they sort as signed integers. Then, if the term is a value,
--                    8 bytes the span id and 7 bytes its name's term or zeros; if not, 7 bytes the duration in microseconds + 1, 0
--                    without times.
--   older            other places of the term in the same 2^20 microseconds that were settled together, the newest first: each without
--                    the first 5 bytes, which it has in common with place. Where there are any, place ends with 6 bytes of a hash
--                    of them, so that rows with other ones have other keys.

CREATE TABLE IF NOT EXISTS post (
  term BINARY(7) NOT NULL,
  place VARBINARY(37) NOT NULL COMMENT 'the newest start; the span of the newest record, or the longest duration',
  day SMALLINT UNSIGNED NOT NULL COMMENT 'of receipt, since 1970',
  older VARBINARY(3302) NOT NULL COMMENT 'at most 127 places, of 18 bytes each or, if the term is a value, of 26',
  PRIMARY KEY (term, place, day)
) ENGINE = InnoDB
  COMMENT = 'A place for the records of a trace that have a term, were settled together, and began in the same 2^20 microseconds'
  PARTITION BY RANGE (day) (PARTITION later VALUES LESS THAN MAXVALUE);

CREATE TABLE IF NOT EXISTS place_number (
  n TINYINT UNSIGNED NOT NULL,
  PRIMARY KEY (n)
) ENGINE = InnoDB COMMENT = 'The places of a row of post, counted from 0: the view places has a row for each';

INSERT IGNORE INTO place_number VALUES
  (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12), (13), (14), (15),
  (16), (17), (18), (19), (20), (21), (22), (23), (24), (25), (26), (27), (28), (29), (30), (31),
  (32), (33), (34), (35), (36), (37), (38), (39), (40), (41), (42), (43), (44), (45), (46), (47),
  (48), (49), (50), (51), (52), (53), (54), (55), (56), (57), (58), (59), (60), (61), (62), (63),
  (64), (65), (66), (67), (68), (69), (70), (71), (72), (73), (74), (75), (76), (77), (78), (79),
  (80), (81), (82), (83), (84), (85), (86), (87), (88), (89), (90), (91), (92), (93), (94), (95),
  (96), (97), (98), (99), (100), (101), (102), (103), (104), (105), (106), (107), (108), (109), (110), (111),
  (112), (113), (114), (115), (116), (117), (118), (119), (120), (121), (122), (123), (124), (125), (126), (127);

CREATE TABLE IF NOT EXISTS trace_terms (
  trace_id BIGINT NOT NULL COMMENT 'the low 64 bits, signed',
  slot BIGINT NOT NULL COMMENT 'of spans in Cassandra: the second in which the message was accepted',
  collector INT NOT NULL COMMENT 'of spans in Cassandra: 32 bits of a hash of collector_id',
  uid BIGINT NOT NULL COMMENT 'hash of what follows: what is written twice in a slot is one row',
  day SMALLINT UNSIGNED NOT NULL COMMENT 'of receipt, since 1970',
  duration BIGINT NOT NULL COMMENT 'of the longest record, in microseconds; -1 when none has times',
  terms VARBINARY(4000) NOT NULL COMMENT 'all but 05, one after the other; values follow their key',
  PRIMARY KEY (trace_id, slot, collector, uid, day)
) ENGINE = InnoDB COMMENT = 'What a trace has that was settled together, and where its records are'
  PARTITION BY RANGE (day) (PARTITION later VALUES LESS THAN MAXVALUE);

CREATE TABLE IF NOT EXISTS dict (
  term BINARY(7) NOT NULL,
  day SMALLINT UNSIGNED NOT NULL COMMENT 'on which it was received at least once',
  scope BINARY(7) NOT NULL COMMENT '01, 02 or 03 and zeros: a name, a service, a key; of a value its key''s term',
  text TEXT NOT NULL COMMENT 'of long strings the beginning: index.value_length',
  PRIMARY KEY (term, day),
  KEY by_text (scope, text(24))
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
  COMMENT = 'Strings, for the comparison of parts and for completion'
  PARTITION BY RANGE (day) (PARTITION later VALUES LESS THAN MAXVALUE);

CREATE TABLE IF NOT EXISTS checkpoint (
  collector VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'collector_id',
  seq BIGINT NOT NULL COMMENT 'up to this number its journal is settled',
  PRIMARY KEY (collector)
) ENGINE = InnoDB COMMENT = 'How far collectors have come with their journals';

-- What services did: see collector/src/store/activity/ and docs/aggregation.md.

CREATE TABLE IF NOT EXISTS activity (
  grain SMALLINT UNSIGNED NOT NULL COMMENT 'how long the stretch is: 1, 10, 60 or 1440 minutes',
  time INT UNSIGNED NOT NULL COMMENT 'its beginning since 1970, in units of the grain, by the spans'' own times',
  service VARBINARY(800) NOT NULL COMMENT 'UTF-8',
  kind TINYINT UNSIGNED NOT NULL COMMENT '0 operations, 1 calls that it made, 2 calls that it answered',
  body MEDIUMBLOB NOT NULL COMMENT 'see collector/src/store/activity/rows.ts',
  PRIMARY KEY (grain, service, time, kind),
  KEY by_time (grain, time)
) ENGINE = InnoDB COMMENT = 'Counters of operations and of calls between them, by stretches of time';

CREATE TABLE IF NOT EXISTS activity_settled (
  seq BIGINT NOT NULL COMMENT 'in the order of all collectors'' settlings, without gaps',
  piece INT NOT NULL COMMENT 'from 0; in the order of the bytes',
  at_us BIGINT NOT NULL COMMENT 'microseconds since 1970, by the clock of MySQL',
  delta MEDIUMBLOB NOT NULL COMMENT 'counters, which are added to the rows of activity some seconds later',
  recent MEDIUMBLOB NOT NULL COMMENT 'the records that were counted: see collector/src/store/activity/meter.ts',
  PRIMARY KEY (seq, piece)
) ENGINE = InnoDB
  COMMENT = 'What was counted with a checkpoint, in one transaction, so that every span counts once; for ten minutes';

CREATE TABLE IF NOT EXISTS activity_progress (
  id TINYINT NOT NULL COMMENT '0 settling, 1 folding; the row is locked meanwhile',
  seq BIGINT NOT NULL COMMENT 'of activity_settled: the last one; the last one whose delta is in the rows of activity',
  rolled_10 INT UNSIGNED NOT NULL COMMENT 'rows of ten minutes before this time are complete; what there is of later ones counts for nothing',
  rolled_60 INT UNSIGNED NOT NULL,
  rolled_1440 INT UNSIGNED NOT NULL,
  PRIMARY KEY (id)
) ENGINE = InnoDB COMMENT = 'Two rows';

INSERT IGNORE INTO activity_progress VALUES (0, 0, 0, 0, 0), (1, 0, 0, 0, 0);

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

CREATE VIEW places AS
  SELECT term, day,
         CAST(CAST(CONV(HEX(SUBSTR(place, 1, 8)), 16, 10) AS UNSIGNED) ^ (1 << 63) AS SIGNED) AS start_us,
         CAST(CAST(CONV(HEX(SUBSTR(place, 9, 8)), 16, 10) AS UNSIGNED) ^ (1 << 63) AS SIGNED) AS trace_id,
         CASE WHEN term < x'10' THEN CAST(CONV(HEX(SUBSTR(place, 17)), 16, 10) AS SIGNED) - 1 END AS duration_us,
         CASE WHEN term >= x'10' THEN CAST(CAST(CONV(HEX(SUBSTR(place, 17, 8)), 16, 10) AS UNSIGNED) AS SIGNED) END AS span_id,
         SUBSTR(place, 25) AS name_term
  FROM (
    SELECT term, day,
           CONCAT(
             SUBSTR(place, 1, 5),
             CASE WHEN term < x'10' THEN SUBSTR(CONCAT(SUBSTR(place, 6, 18), older), 18 * n + 1, 18)
                  ELSE SUBSTR(CONCAT(SUBSTR(place, 6, 26), older), 26 * n + 1, 26) END
           ) AS place
    FROM post JOIN place_number ON n <= LENGTH(older) DIV CASE WHEN term < x'10' THEN 18 ELSE 26 END
  ) AS each_place;

-- The tables of the original Milo, as views for those who query them. Where its own tables are in this database they stay,
-- and there is no view.

CREATE VIEW traces AS
  SELECT trace_id, FROM_UNIXTIME(MIN(start_us) / 1000000) AS date_created
  FROM places WHERE term = x'05000000000000' GROUP BY trace_id;

-- Of several spans of a trace that have the same value, the newest is shown, where they were settled together.
CREATE VIEW annotations AS
  SELECT p.trace_id, p.span_id, n.text AS name, k.text AS annotation_name, v.text AS annotation_value,
         FROM_UNIXTIME(p.start_us / 1000000) AS date_created
  FROM places p
  JOIN dict v ON v.term = p.term AND v.day = p.day
  JOIN dict k ON k.term = v.scope AND k.day = p.day
  LEFT JOIN dict n ON n.term = p.name_term AND n.day = p.day
  WHERE p.term >= x'10';

CREATE VIEW saved_searches AS
  SELECT id, name AS search_name, span_name AS name, annotation_key AS `key`, annotation_value AS value,
         FROM_UNIXTIME(created_us / 1000000) AS date_created
  FROM saved_search;
