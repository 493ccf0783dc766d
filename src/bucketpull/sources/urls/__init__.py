"""Objects at any http:// and https:// URLs, listed in a file: one a line, or in a table with columns."""
