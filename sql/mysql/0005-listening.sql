-- Where processes with a history take calls, since when they have it, and when they last said how far it goes back: by these a trace says
-- what is missing in it. MySQL knows no ADD COLUMN IF NOT EXISTS.

SET @milo_alter = (SELECT IF(COUNT(*) > 0, 'DO 0', '
  ALTER TABLE ring
    ADD COLUMN listening VARCHAR(5000) NOT NULL DEFAULT '''' COMMENT ''address:port, with a comma before and behind each; empty if the process does not say'',
    ADD COLUMN made_us BIGINT NOT NULL DEFAULT 0 COMMENT ''when its history was made, microseconds since 1970; 0 if it does not say'',
    ADD COLUMN told_us BIGINT NOT NULL DEFAULT 0 COMMENT ''when it told history_us, microseconds since 1970; 0: at seen_us''
') FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'ring' AND column_name = 'told_us');
PREPARE milo_alter FROM @milo_alter;
EXECUTE milo_alter;
DEALLOCATE PREPARE milo_alter;
