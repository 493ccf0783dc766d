"""Reporters: the same `Snapshot` for a person at a terminal, a log file, a program, or nobody.

`reporters.open_reporter` picks one; only `terminal` imports rich, which costs a tenth of a second. `systemd` and `log_file` tell those who do
not look. `words` and `reasons` have the texts, `figures` and `printable` their forms.
"""
