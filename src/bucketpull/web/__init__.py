"""The dashboard and the metrics of a running job (extra `web`): one page without a build step or outside resources."""
