"""The composition root: the only place that knows every adapter, and joins them into commands."""
