"""The bookkeeper: one a job."""
