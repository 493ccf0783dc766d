"""Stand-ins for the outside, for tests: virtual time, scripted answers, volumes in memory."""
