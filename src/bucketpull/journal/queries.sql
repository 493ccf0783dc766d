-- Every statement of the journal, with who calls it how often. Times are Unix seconds.

-- name: job
-- open, once
select journal, name, run, past, tidied from job;

-- name: update-job
-- begin and end of a run
update job set run = ?, past = ?, tidied = ?;

-- name: was-closed
-- open, once
select closed from job;

-- name: set-closed
-- open and close, once each
update job set closed = ?;

-- name: raise-ids
-- each begin, once
update sqlite_sequence set seq = max(seq, ?) where name = 'work';

-- name: configuration
-- open, once
select key, value from configuration order by key;

-- name: configure
-- open, a row a changed setting
insert into configuration (key, value) values (?, ?) on conflict (key) do update set value = excluded.value;

-- name: begin-run
-- begin, once a run
insert into run (id, started, state) values (?, ?, 'running');

-- name: resume-run
-- begin, once a resume
update run set state = 'running', ended = null where id = ?;

-- name: abandon-run
-- begin, once where a run is abandoned
update run set state = 'interrupted', ended = coalesce(ended, ?) where id = ?;

-- name: end-run
-- end, once a run
update run set state = ?, ended = ?, summary = ? where id = ?;

-- name: runs
-- status, once
select id, started, ended, state, summary from run order by id desc limit ?;

-- name: books
-- open, once; a reading command, twice a second
select books from book;

-- name: write-books
-- every transaction, once
update book set books = ?;

-- name: volumes
-- open, once; a reading command, once
select id, name, machine, path, state from volume order by id;

-- name: write-volume
-- commit, once when a volume is first seen; the coordinator, whenever a volume changes its machine, path or state
insert into volume (name, machine, path, state) values (?, ?, ?, ?)
on conflict (name) do update set machine = excluded.machine, path = excluded.path, state = excluded.state
returning id;

-- name: add-work
-- commit, once a new scan or batch
insert into work (kind, tier, due, home, passes, objects, bytes, candidates, rank) values (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: go-on-work
-- commit, once a receipt of a part of a batch
insert into work (id, kind, state, tier, due, home, machine, passes, part, objects, bytes, candidates)
values (?, 1, 1, ?, 0, ?, ?, ?, ?, ?, ?, ?);

-- name: add-body
-- commit, once a new scan or batch
insert into body (id, body, checksum) values (?, ?, ?);

-- name: impossible-work
-- open to write, once: 0.7 s a million rows
select id from work where kind not in (0, 1) or state not in (0, 1) or tier not in (0, 1, 2) or due < 0
or (home <> 0 and home not in (select id from volume)) or not exists (select 1 from body where body.id = work.id) limit 1;

-- name: sums-of-work
-- open to write, once: 0.4 s a million rows
select total(kind = 0), total(kind = 0 and state = 1), total(kind = 1), total(kind = 1 and state = 1),
total(iif(kind = 1, objects, 0)), total(iif(kind = 1, bytes, 0)), total(tier = 0), total(tier = 1), total(tier = 2) from work;

-- name: hasten-work
-- begin, once, and a claim after the clock was set back: what it put off when it was far ahead
update work set due = ? where due > ?;

-- name: ready-work
-- claim, once a home and tier: a few times a second
select id, passes, part, candidates, body, checksum from work join body using (id)
where kind = ? and tier = ? and home = ? and state = 0 and due = 0 order by rank, id limit ?;

-- name: foremost-scan
-- claim of a trial with prefixes, a few times a second: of what is ready, and of what is sent
select (select rank from work where kind = 0 and tier = 0 and home = 0 and state = 0 and due = 0 order by rank limit 1),
(select min(rank) from work where kind = 0 and state = 1);

-- name: ready-by-id
-- a machine that comes back, once a batch that it had begun
select id, passes, part, candidates, body, checksum from work join body using (id) where kind = ? and id = ? and state = 0 limit ?;

-- name: deferred-work
-- claim, once a home: a few times a second
select id, passes, part, candidates, body, checksum from work join body using (id)
where kind = ? and home = ? and due <= ? and state = 0 and due > 0 order by due, id limit ?;

-- name: next-due
-- after each commit, while no work is with any machine: 0 where some is ready, else when the first that was deferred is due
select coalesce(
    (select 0 from work where kind in (0, 1) and tier = ? and state = 0 and due = 0 limit 1),
    (select min(due) from work where kind in (0, 1) and state = 0 and due > 0),
    0
);

-- name: next-at-home
-- as the one above, once a volume: whether some of what is ready, or was deferred and is due first, has it for its home
select exists (select 1 from work where kind in (0, 1) and tier in (0, 1, 2) and tier <= ?1 and home = ?3 and state = 0 and due = 0)
    or exists (select 1 from work where kind in (0, 1) and home = ?3 and state = 0 and due > 0 and due <= ?2);

-- name: mark-sent
-- claim, once a piece of work
update work set state = 1, machine = ? where id = ?;

-- name: mark-ready
-- release and handbacks, once a piece of work
update work set state = 0, machine = '' where id = ? and state = 1 returning kind;

-- name: sent-work
-- open, once
select id, kind, machine, objects, bytes from work where state = 1 order by machine, id;

-- name: abandoned-work
-- begin, once where a run is abandoned; an empty blob of candidates is that of a repair
select id, part from work where id > ? and candidates is not x'' order by id limit ?;

-- name: holder
-- receipt of a batch that was booked, or a question about one
select machine, state from work where id = ?;

-- name: taken-work
-- commit, once a receipt
select kind, state, tier, home, passes, objects, bytes, candidates, body, checksum from work join body using (id)
where id = ? and part = ?;

-- name: walk-batches
-- once where a batch was damaged, 200 at a time
select id, part, candidates, body, checksum from work join body using (id) where id > ? and kind = 1 order by id limit ?;

-- name: remove-work
-- commit, once a receipt
delete from work where id = ?;

-- name: remove-body
-- commit, once a receipt
delete from body where id = ?;

-- name: rehome-work
-- lose, once a volume and tier
update work set home = 0 where kind = 1 and tier = ? and home = ? and state = 0 and due = 0;

-- name: rehome-deferred
-- lose, once a volume
update work set home = 0 where kind = 1 and home = ? and state = 0 and due > 0;

-- name: known-page
-- commit, once a page or position; on a first run not for positions
select directory, cursor, run, until, first, last, digest, objects, bytes, excluded, stored, skipped, vanished, extents
from page where directory = ? and cursor = ? order by run desc limit 1;

-- name: add-page
-- commit, once a listed page
insert into page (directory, cursor, run, until, first, last, digest, objects, bytes, excluded, extents)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: remove-page
-- commit, once a page that is listed twice in one run; tidying, once a forgotten page
delete from page where directory = ? and cursor = ? and run = ?;

-- name: see-page
-- commit, once an unchanged page
update page set run = ?, until = ?, excluded = ?, stored = 0, skipped = ?, vanished = 0
where directory = ? and cursor = ? and run = ?;

-- name: book-page
-- commit, once a page of a settled batch
update page set stored = stored + ?, skipped = skipped + ?, vanished = vanished + ?, digest = ?, extents = ?
where directory = ? and cursor = ? and run = ?;

-- name: doubt-page
-- commit, once a page of a batch that went to a lost volume
update page set digest = x'' where directory = ? and cursor = ?;

-- name: doubt-first-page
-- prune, once an object that is about to go: the first page of its directory, if it may list it
update page set digest = x'' where directory = :directory and cursor = '' and first <= :name and last >= :name and digest <> x'';

-- name: doubt-later-pages
-- likewise, those of the nearest hundred other pages that may list it: pages of one run hardly overlap
update page set digest = x''
where (directory, cursor, run) in (
    select directory, cursor, run from page indexed by page_range
    where directory = :directory and cursor <> '' and first <= :name order by first desc limit 100
) and last >= :name and digest <> x'';

-- name: first-pages-over
-- commit of a changed page, once a directory: the first page, if it overlaps a range of names
select run, extents from page
where directory = :directory and cursor = '' and first <= :last and last >= :first;

-- name: later-pages-over
-- where, once: the other pages that overlap a range of names, however far before it they begin
select run, extents from page indexed by page_range
where directory = :directory and cursor <> '' and first <= :last and last >= :first;

-- name: later-pages-near
-- commit of a changed page, once a directory: likewise, but of the pages that begin before the range only the nearest
-- thousand. Pages overlap hardly where names come in order; all of 100,000 before a page would take 40 ms.
select run, extents from page indexed by page_range
where directory = :directory and cursor <> '' and first between :first and :last
union all
select page.run, page.extents
from (
    select directory, cursor, run, last from page indexed by page_range
    where directory = :directory and cursor <> '' and first < :first order by first desc limit 1000
) as near cross join page on page.directory = near.directory and page.cursor = near.cursor and page.run = near.run
where near.last >= :first;

-- name: walk-pages
-- tidying, lose, export and reconciliation, once a thousand pages
select directory, cursor, run, until, first, last, digest, objects, bytes, excluded, stored, skipped, vanished, extents
from page
where (directory, cursor, run) > (?, ?, ?) order by directory, cursor, run limit ?;

-- name: change-extents
-- lose and rebuild, once a page concerned
update page set first = ?, last = ?, digest = ?, objects = ?, bytes = ?, extents = ?
where directory = ? and cursor = ? and run = ?;

-- name: has-later-pages
-- commit of a batch, once a first page, where a job has several volumes: 2 µs
select exists (select 1 from page indexed by page_range where directory = ? and cursor <> '');

-- name: pages-over
-- commit of a batch, once another page where a job has several volumes; tidying, once a page that the run did not see: the run's pages that overlap it; of those that begin before it, and of those that
-- begin in it, only the nearest hundred are looked at, in the index alone, which takes some 30 µs
select directory, cursor, run, until, first, last, digest, objects, bytes, excluded, stored, skipped, vanished, extents
from page where (directory, cursor, run) in (
    select directory, cursor, run from (
        select directory, cursor, run, last from page where directory = :directory and cursor = '' and first <= :last
        union all
        select * from (
            select directory, cursor, run, last from page indexed by page_range
            where directory = :directory and cursor <> '' and first between :first and :last order by first limit 100
        ) as near
        union all
        select * from (
            select directory, cursor, run, last from page indexed by page_range
            where directory = :directory and cursor <> '' and first < :first order by first desc limit 100
        ) as near
    ) as bounded where run = :run and last >= :first
);

-- name: objects-in-overlaps
-- end of a run for which ledgers lack objects, once: 1.4 s a million rows
select coalesce(sum(objects), 0) from (
    select first, objects, max(last) over (
        partition by directory order by first, last rows between unbounded preceding and 1 preceding
    ) as reached
    from page where run = ? and objects > 0
) as pages
where first <= reached;

-- name: was-seen
-- tidying after a run in which a page could not be listed, once a forgotten page
select exists (select 1 from page where directory = ?1 and cursor = '' and run = ?2)
    and not exists (select 1 from failure where directory = ?1 and name = x'');

-- name: add-failure
-- commit, once an object or page that failed for good
insert into failure (directory, name, cursor, run, until, size, mtime, reason, attempts, status, detail, version, url)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: remove-failure
-- commit, once an object or page that failed for good; retry, once a failure
delete from failure where directory = ? and name = ? and cursor = ? returning reason;

-- name: remove-failures-of-page
-- commit, once a listed page while there are failures
delete from failure where directory = ? and cursor = ?
returning directory, name, size, mtime, cursor, reason, attempts, status, detail, run, until, version, url;

-- name: count-failures-of-page
-- commit, once a page that is listed twice in one run while there are failures
select count(*) from failure where directory = ? and cursor = ? and run = ? and name <> x'';

-- name: unsettled-pages
-- once where a batch was damaged: 0.5 s a million pages
select directory, cursor, objects - stored - skipped - vanished - (
    select count(*) from failure as f where f.directory = page.directory and f.cursor = page.cursor and f.run = page.run and name <> x''
) as left from page where run = ? and left > 0;

-- name: listing-failed
-- end and tidying, once a run
select exists (select 1 from failure where name = x'');

-- name: walk-failures
-- failures, retry, tidying and reconciliation, once a thousand failures
select directory, name, size, mtime, cursor, reason, attempts, status, detail, run, until, version, url from failure
where (directory, name, cursor, run) > (?, ?, ?, ?) order by directory, name, cursor limit ?;

-- name: next-directory
-- the dashboard's tree, once or twice a directory shown
select directory from page where directory >= ? order by directory limit 1;

-- name: next-failed-directory
-- likewise
select directory from failure where directory >= ? order by directory limit 1;

-- name: directory-sums
-- the dashboard's tree, once a directory shown: in the present run, and how many rows were read below it
select coalesce(sum(objects) filter (where run = ?1), 0), coalesce(sum(bytes) filter (where run = ?1), 0),
    coalesce(sum(settled) filter (where run = ?1), 0), count(*) filter (where run = ?1),
    count(*) filter (where directory <> ?2)
from (
    select directory, run, objects, bytes, stored + skipped + vanished as settled
    from page where directory = ?2
    union all
    select * from (
        select directory, run, objects, bytes, stored + skipped + vanished as settled
        from page where directory >= ?3 and directory < ?4 limit ?5
    ) as bounded
) as bounded;

-- name: directory-failures
-- the dashboard's tree, once a directory shown
select coalesce(sum(name <> x''), 0), coalesce(sum(name = x''), 0), count(*) filter (where directory <> ?1)
from (
    select directory, name from failure where directory = ?1
    union all
    select * from (select directory, name from failure where directory >= ?2 and directory < ?3 limit ?4) as bounded
) as bounded;

-- name: add-former
-- commit, once a batch some of whose objects were moved to another volume
insert into former (volume, owner, offsets, parts, checksum) values (?, ?, ?, ?, ?);

-- name: former-of
-- the coordinator, every few seconds a volume while there are some
select id, owner, offsets, parts, checksum from former where volume = ? order by id limit ?;

-- name: remove-former
-- the coordinator, once a row
delete from former where id = ?;

-- name: replaced-by
-- lose, once a volume
select volume, offsets, parts, checksum from former where owner = ? order by id;

-- name: forget-former
-- lose, once a volume
delete from former where volume = ? or owner = ?;
