-- Version 2. What an evaluation leaves behind beside its metrics, one small document per experiment: sums per window of
-- the text (for paired tests), the first tokens with their values, the tokens that suffered most, which tasks were right.
-- Apart from the experiment's row, so that lists never read it.

CREATE TABLE evaluation_traces (
    experiment INTEGER PRIMARY KEY REFERENCES experiments (id) ON DELETE CASCADE,
    json TEXT NOT NULL
) STRICT;
