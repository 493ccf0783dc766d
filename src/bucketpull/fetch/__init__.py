"""Transfers over HTTP, many at once in one thread, on libcurl."""
