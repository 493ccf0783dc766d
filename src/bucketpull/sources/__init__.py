"""Where buckets come from: one folder a source."""
