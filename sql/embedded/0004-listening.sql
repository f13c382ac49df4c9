-- Where processes with a history take calls, since when they have it, and when they last said how far it goes back: by these a trace says what is missing in it.

ALTER TABLE ring ADD COLUMN listening TEXT NOT NULL DEFAULT ''; -- address:port, with a comma before and behind each; empty if it doesn't say
ALTER TABLE ring ADD COLUMN made_us INTEGER NOT NULL DEFAULT 0; -- when its history was made, microseconds since 1970; 0 if it doesn't say
ALTER TABLE ring ADD COLUMN told_us INTEGER NOT NULL DEFAULT 0; -- when it told history_us, microseconds since 1970; 0: at seen_us
