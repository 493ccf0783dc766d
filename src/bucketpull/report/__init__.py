"""Reporters: the same `Snapshot` for a person at a terminal, a log file, a program, or nobody.

`reporters.open_reporter` picks one; only `terminal` imports rich, which costs a tenth of a second. `systemd`, `log_file` and `on_end` tell
those who do not look. `words`, `reasons` and `catalogue` have the texts, `figures`, `text_tables` and `printable` their forms.
"""
