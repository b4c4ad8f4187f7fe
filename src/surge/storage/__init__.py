"""Stored files: coding them, putting and getting them, keeping them, and lending disk to those of others.

The formats and the rules are `core/storage`'s. This room does the work: the erasure code, the shards on disk, what travels, and the
keeper's rounds. It does not read the wallet's keys, and it does not decide what a user sees; the command line does.
"""
