"""Puts `tests/` on the import path, so that tests of a room can share a module."""
