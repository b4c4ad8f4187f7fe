"""The format of stored objects: how bytes are cut, sealed, coded, masked, hashed and written down. Pure.

`docs/storage.md` says it for other programs. What comes from strangers enters through one decoder for each thing, which refuses every
number that does not follow from the others. The erasure code itself is compiled code and stands in the storage room; nothing here knows
where shards are kept, or what that costs.
"""
