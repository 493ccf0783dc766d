-- The journal of one job. Directories, names and keys are bytes; times are Unix seconds; sizes are bytes.
-- There is no row an object: pages and batches have rows, and of objects only those that failed.
-- A change of the tables raises `SCHEMA_VERSION` in `database.py`: a journal of an older version is refused.

create table job (
    id integer primary key check (id = 1),
    journal text not null,                  -- 12 hexadecimal digits, made at random with the journal
    name text not null,
    created real not null,
    run integer not null default 0,         -- number of the present or last run, 0 before the first
    past integer not null default 0,        -- 1 if pages may be known from an earlier run or from a rebuild
    tidied integer not null default 0,      -- number of the last run after which forgotten pages were removed
    closed integer not null default 1       -- 0 while a coordinator has the journal open
) strict;

create table configuration (
    key text not null primary key,
    value text not null
) strict, without rowid;

create table run (
    id integer primary key,
    started real not null,
    ended real,
    state text not null,                    -- running, complete, incomplete, interrupted, refused, no-room, budget-spent
    summary text not null default ''        -- JSON, written when the run has ended
) strict;

-- The sums, as JSON, because they are only ever read and written together.
create table book (
    id integer primary key check (id = 1),
    books text not null
) strict;

create table volume (
    id integer primary key autoincrement,   -- what extents say instead of the 32 letters of the name
    name text not null unique,
    machine text not null,                  -- '' where nobody knows
    path text not null,
    state text not null
) strict;

-- Outstanding work. A row goes when its receipt is booked, and its id never comes again.
create table work (
    id integer primary key autoincrement,
    kind integer not null,                  -- 0 scan, 1 batch
    state integer not null default 0,       -- 0 ready, 1 sent
    tier integer not null default 0,        -- 0 usual, 1 last pass: due when tier 0 is empty, 2 listing again: likewise 0 and 1
    due real not null default 0,            -- 0 at once, otherwise not before
    home integer not null default 0,        -- volume that holds most candidates, 0 none
    machine text not null default '',       -- to which it was sent
    passes integer not null default 0,      -- how many it has had
    part integer not null default 0,        -- what of a batch is outstanding: 0 all of it, else the number that a machine gave to the rest
    rank integer not null default 0,        -- ready work is given out by rank (`--first`), within it the oldest first
    objects integer not null default 0,
    bytes integer not null default 0,
    candidates blob                         -- MessagePack [[volume, offset], ...], oldest first; empty: fetch whatever ledgers say
) strict;

create index work_ready on work (kind, tier, home, rank, id) where state = 0 and due = 0;
create index work_deferred on work (kind, home, due, id) where state = 0 and due > 0;
create index work_sent on work (machine, id) where state = 1;

-- Bodies have a table of their own: a claim or a release then touches 60 bytes and not 40 KB.
create table body (
    id integer primary key,
    body blob not null,
    checksum integer not null               -- CRC-32 of candidates and body: SQLite sees no flipped bit
) strict;

-- Listed pages. The row of an earlier run stays until the run has ended, for the candidates of pages with other borders; without
-- digest and counts until a page of a later run stands in its place, which was compared with it: objects that are made again go
-- back to where they lie, and of those that lie twice one copy goes.
create table page (
    directory blob not null,
    cursor text not null,
    run integer not null,                   -- in which it was last listed; 0 where none listed it, as what was found in a ledger
    until text not null,                    -- of its position
    first blob not null,
    last blob not null,
    digest blob not null,                   -- empty where an equal page is no proof that its objects are there
    objects integer not null,               -- without those excluded
    bytes integer not null,
    excluded integer not null default 0,    -- objects that were listed and are not wanted
    stored integer not null default 0,      -- objects of this run: stored + skipped + vanished + failed + outstanding = objects
    skipped integer not null default 0,
    vanished integer not null default 0,
    extents blob not null default x'',      -- MessagePack [[volume, offset], [volume, offset, first, last], ...], oldest first
    primary key (directory, cursor, run)
) strict, without rowid;

-- The first page of a directory is found by the key, so that a tree of small directories has no row in this index.
create index page_range on page (directory, first, last) where cursor <> '';

-- What failed for good: objects, and with an empty name pages that could not be listed.
create table failure (
    directory blob not null,
    name blob not null,
    cursor text not null,
    run integer not null,
    until text not null,                    -- of a position that could not be listed
    size integer not null,
    mtime integer not null,
    reason text not null,
    attempts integer not null,
    status integer not null,
    detail text not null,
    version text not null,                  -- the source's token for what was listed, "" for none
    url text not null,                      -- the object's own address, "" where it is made of the key
    primary key (directory, name, cursor)
) strict, without rowid;

create index failure_page on failure (directory, cursor);
create index failure_reason on failure (reason);
create index failure_listing on failure (directory, cursor) where name = x'';

-- Copies that count no more, because a batch stored their objects on another volume since: to be removed from their volume
-- when it is there.
create table former (
    id integer primary key autoincrement,
    volume integer not null,
    owner integer not null,                 -- the volume that holds the objects now
    offsets blob not null,                  -- MessagePack [offset, ...] of the blocks in which the copies may be
    parts blob not null,                    -- the objects, as in the body of a batch
    checksum integer not null               -- CRC-32 of offsets and parts
) strict;

create index former_volume on former (volume, id);
create index former_owner on former (owner);
