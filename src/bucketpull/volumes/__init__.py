"""Disks: identity and ledger of a volume, writing files to it, checking them."""
