"""The API of a job, and the dashboard and metrics that use it (extra `web`): one page without a build step or outside resources.

`api` says what a job must offer, and makes HTTP of it; `server` and `control_socket` serve it on TCP and beside the journal.
The page is in `static/`.
"""
