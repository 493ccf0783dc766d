"""Where buckets come from: one folder a source, each with `config` (what it must be told) and `source` (which implements `ports.Source`).

`registry` has all of them by scheme. What several sources share is beside it: `source_settings` (options), `http`, `lists`, `plain` (objects by
ordinary GETs). `derived` and `key_list` are sources made of another one: with rules of what is wanted, or for a list of keys.
"""
