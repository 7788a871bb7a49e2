-- Version 1. Times are Unix milliseconds. Files (models, texts, artifacts) stay outside; rows hold path, size, hash.

CREATE TABLE models (
    id INTEGER PRIMARY KEY,
    hash TEXT NOT NULL DEFAULT '',           -- of the content; empty until a run has read the file
    path TEXT NOT NULL,
    name TEXT NOT NULL,
    architecture TEXT NOT NULL DEFAULT '',
    parameters INTEGER NOT NULL DEFAULT 0,
    file_bytes INTEGER NOT NULL DEFAULT 0,
    added_ms INTEGER NOT NULL,
    UNIQUE (path, hash)
) STRICT;
CREATE INDEX models_by_hash ON models (hash);

CREATE TABLE datasets (
    id INTEGER PRIMARY KEY,
    hash TEXT NOT NULL DEFAULT '',
    path TEXT NOT NULL,
    tokens INTEGER,
    role TEXT NOT NULL,                      -- calibration, train, evaluate, tasks
    UNIQUE (path, hash, role)
) STRICT;

CREATE TABLE devices (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,                      -- cpu, cuda
    driver TEXT NOT NULL DEFAULT '',
    isa TEXT NOT NULL DEFAULT '',
    memory_bytes INTEGER NOT NULL DEFAULT 0,
    UNIQUE (name, kind, driver, isa, memory_bytes)
) STRICT;

CREATE TABLE recipes (
    id INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,               -- over steps and seed; the name is the experiment's
    json TEXT NOT NULL,
    steps INTEGER NOT NULL                   -- 0: a baseline
) STRICT;

CREATE TABLE experiments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,    -- never reused: artifact folders are named after it
    name TEXT NOT NULL,
    model INTEGER NOT NULL REFERENCES models (id),
    recipe INTEGER NOT NULL REFERENCES recipes (id),
    recipe_name TEXT NOT NULL DEFAULT '',
    device INTEGER REFERENCES devices (id),
    seed INTEGER NOT NULL,                   -- 64 bits, taken as unsigned
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'finished', 'failed', 'cancelled', 'interrupted')),
    error TEXT NOT NULL DEFAULT '',
    app_version TEXT NOT NULL DEFAULT '',
    inputs TEXT NOT NULL DEFAULT '{}',       -- files as the user gave them
    measure TEXT NOT NULL DEFAULT '{}',      -- the measuring options
    estimate TEXT,                           -- what was promised before the run
    created_ms INTEGER NOT NULL,
    started_ms INTEGER NOT NULL DEFAULT 0,
    finished_ms INTEGER NOT NULL DEFAULT 0,
    parent INTEGER REFERENCES experiments (id) ON DELETE SET NULL,
    owner_pid INTEGER NOT NULL DEFAULT 0,    -- the process that will run it; 0 once it has ended
    owner_start INTEGER NOT NULL DEFAULT 0,  -- start time of that process in clock ticks: pids are reused
    owner_boot TEXT NOT NULL DEFAULT '',     -- boot id of the host: start times are counted from it
    removed INTEGER NOT NULL DEFAULT 0       -- 0, or the number of the removal that hides it (for undo)
) STRICT;
CREATE INDEX experiments_by_model ON experiments (model);
CREATE INDEX experiments_by_recipe ON experiments (recipe);
CREATE INDEX experiments_by_parent ON experiments (parent) WHERE parent IS NOT NULL;
CREATE INDEX experiments_by_device ON experiments (device) WHERE device IS NOT NULL;
CREATE INDEX experiments_removed ON experiments (removed) WHERE removed != 0;
CREATE INDEX experiments_open ON experiments (status) WHERE status IN ('queued', 'running');

CREATE TABLE experiment_datasets (
    experiment INTEGER NOT NULL REFERENCES experiments (id) ON DELETE CASCADE,
    dataset INTEGER NOT NULL REFERENCES datasets (id),
    PRIMARY KEY (experiment, dataset)
) STRICT, WITHOUT ROWID;
CREATE INDEX experiment_datasets_by_dataset ON experiment_datasets (dataset);

CREATE TABLE steps (
    experiment INTEGER NOT NULL REFERENCES experiments (id) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    technique TEXT NOT NULL,
    params TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'finished',
    seconds REAL,
    PRIMARY KEY (experiment, step)
) STRICT, WITHOUT ROWID;

-- A value of NULL is "not a number": SQLite keeps infinities, but not that.
CREATE TABLE metrics (
    experiment INTEGER NOT NULL REFERENCES experiments (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    value REAL,
    unit TEXT NOT NULL DEFAULT '',
    low REAL,
    high REAL,
    native INTEGER NOT NULL DEFAULT 1,
    estimated INTEGER NOT NULL DEFAULT 0,
    protocol TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (experiment, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE layer_metrics (
    id INTEGER PRIMARY KEY,
    experiment INTEGER NOT NULL REFERENCES experiments (id) ON DELETE CASCADE,
    layer INTEGER NOT NULL,
    tensor TEXT NOT NULL,
    name TEXT NOT NULL,
    value REAL
) STRICT;
CREATE INDEX layer_metrics_by_experiment ON layer_metrics (experiment);

CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    experiment INTEGER NOT NULL REFERENCES experiments (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    step REAL NOT NULL,
    value REAL
) STRICT;
CREATE INDEX series_by_experiment ON series (experiment);

CREATE TABLE samples (
    id INTEGER PRIMARY KEY,
    experiment INTEGER NOT NULL REFERENCES experiments (id) ON DELETE CASCADE,
    prompt TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX samples_by_experiment ON samples (experiment);

CREATE TABLE artifacts (
    id INTEGER PRIMARY KEY,
    experiment INTEGER NOT NULL REFERENCES experiments (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    format TEXT NOT NULL DEFAULT '',
    bytes INTEGER NOT NULL DEFAULT 0,
    hash TEXT NOT NULL DEFAULT '',
    UNIQUE (experiment, path)
) STRICT;

CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    experiment INTEGER NOT NULL REFERENCES experiments (id) ON DELETE CASCADE,
    time_ms INTEGER NOT NULL,
    level TEXT NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX log_by_experiment ON log (experiment);

CREATE TABLE library (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('model', 'text', 'tasks')),
    name TEXT NOT NULL,
    path TEXT NOT NULL,
    detail TEXT NOT NULL DEFAULT '',
    bundled INTEGER NOT NULL DEFAULT 0,
    added_ms INTEGER NOT NULL,
    UNIQUE (kind, path)
) STRICT;
