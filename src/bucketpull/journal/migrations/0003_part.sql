-- How many receipts of a batch are booked: a batch is settled in parts, and each receipt counts only for the part that is next.
alter table work add column part integer not null default 0;
