"""The API of a job, and the dashboard and metrics that use it (extra `web`): one page without a build step or outside resources.

`panel` is what a job must offer, `api` makes HTTP of it, `server` and `control_socket` serve it on TCP and beside the journal, `client`
asks it. The page is in `static/`.
"""
