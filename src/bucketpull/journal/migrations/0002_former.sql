-- Copies that count no more, because a batch stored their objects on another volume since: to be removed from their volume
-- when it is there.
create table former (
    id integer primary key autoincrement,
    volume integer not null,
    owner integer not null,                 -- the volume that holds the objects now
    offsets blob not null,                  -- MessagePack [offset, ...] of the blocks in which the copies may be
    parts blob not null                     -- the objects, as in the body of a batch
) strict;

create index former_volume on former (volume, id);
create index former_owner on former (owner);
