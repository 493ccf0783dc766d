"""The composition root: settings, and which adapters a job gets.

`job`, `local_job` and `cluster` join the parts of a job and run it; `settings` and `configuration` are what the user said. Commands take
from here what several of them need: `journals` for a job's journal, `coordinator_client` for a job that runs, `job_status` for where one
stands, `ledgers` for what is on its volumes, `source_client` for its source.
"""
