-- Which part of a batch is outstanding: 0 is all of it, else the number that a machine gave to the rest when it reported a part.
alter table work add column part integer not null default 0;
