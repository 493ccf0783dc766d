"""Where buckets come from: one folder a source, each with `config` (what it must be told) and `source` (which implements `ports.Source`).

`registry` has all of them by scheme. What several sources share is beside it: `source_settings` (options), `http` (headers of requests and of
answers), `list_files`, `plain` (objects by ordinary GETs). `derived` has the sources made of another one.
"""
