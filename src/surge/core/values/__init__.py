"""How arguments and results travel between a buyer's Python and a guest: data, never code.

CBOR (RFC 8949) behind a version byte. Self-describing: None, bool, int of any size, float, complex, str, bytes, list, tuple, set,
frozenset, dict (in its order), the datetime types, Decimal, UUID, NumPy arrays and scalars without objects, pandas frames and series.
Anything else is refused with its place in the value: above all what would come back as something else, such as subclasses.

    >>> loads(dumps({"a": [1, (2.5, None)], "b": {b"x"}}))
    {'a': [1, (2.5, None)], 'b': {b'x'}}
    >>> dumps([1, object()])
    Traceback (most recent call last):
    surge.core.values.ValueRefused: object is not data, in value[1]

What comes back equals what went in, with these exceptions: every NaN of a float is the same NaN; an array's memory layout, a dtype's
metadata and an index's frequency are not kept; without NumPy here, its scalars become Python's own; and the name of a stored file becomes
the path by which a unit opens it (`stored`).

This room runs on both sides: its sources are shipped into the guest, under another name. So it stands alone: its own parts, named from
where it is, the standard library, and NumPy and pandas only where a value needs them. What it imports at its top is in the memory of
every guest and in the time of every setup.

`encoder` and `decoder` know the containers and what stands alone; everything under a tag has a part that takes it apart into those and
puts it together again: `scalars`, `dates`, `arrays`, `frames` and `stored`.
"""

from __future__ import annotations

from .arrays import MAX_DIMENSIONS
from .decoder import FREE_CONTAINERS, loads, stored_in
from .encoder import begin_list, dumps, encode_into
from .keys import MAX_KEY_INTEGER
from .scalars import MAX_DIGITS
from .wire import MAX_DEPTH, VERSION, ValueRefused

__all__ = [
    "FREE_CONTAINERS",
    "MAX_DEPTH",
    "MAX_DIGITS",
    "MAX_DIMENSIONS",
    "MAX_KEY_INTEGER",
    "VERSION",
    "ValueRefused",
    "begin_list",
    "dumps",
    "encode_into",
    "loads",
    "stored_in",
]
