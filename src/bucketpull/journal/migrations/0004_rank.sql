-- In which order ready work is given out: the least rank first (`--first`), within it the oldest.
alter table work add column rank integer not null default 0;
drop index work_ready;
create index work_ready on work (kind, tier, home, rank, id) where state = 0 and due = 0;
