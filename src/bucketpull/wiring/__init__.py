"""The composition root: settings, and which adapters a job gets."""
