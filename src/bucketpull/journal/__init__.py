"""The journal: the books of one job, in one SQLite file with one writer.

`sqlite_journal` implements `ports.Journal`, `journal_reader` is for those who only read. Each of the other modules has one part of the tables, joined in
`journal_tables`; the statements are in `queries.sql` by name, the schema in `schema.sql`.
"""
