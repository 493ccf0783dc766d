"""The command line: one command a module, imported when it is called.

A command's module has its options, what it does and what it prints. Options that several share are in `options`; a module named after a
command with more behind it, such as `dry_run`, is part of that command. `main` finds the command and turns errors into exit codes.
"""
