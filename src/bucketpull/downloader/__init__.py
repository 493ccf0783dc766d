"""The downloader: one process a core; it lists pages and fetches objects."""
