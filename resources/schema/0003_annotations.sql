-- Version 3. What people say about an experiment: a star, a note, and tags to find it by. Apart from the experiment's
-- row, since running it again clears results but not opinions. Only experiments that someone annotated have rows here.

CREATE TABLE annotations (
    experiment INTEGER PRIMARY KEY REFERENCES experiments (id) ON DELETE CASCADE,
    favourite INTEGER NOT NULL DEFAULT 0 CHECK (favourite IN (0, 1)),
    note TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE tags (
    experiment INTEGER NOT NULL REFERENCES experiments (id) ON DELETE CASCADE,
    tag TEXT NOT NULL CHECK (tag != ''),
    PRIMARY KEY (experiment, tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_by_tag ON tags (tag);
