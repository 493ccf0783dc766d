"""Packs: tar files of about the same size, each with many objects, that survive a kill and that ordinary tools read."""
