"""An economy one can look at: years of a network's providers, buyers, stakers and cheats in minutes.

The model calls the functions of `core` that the network itself is bound by, with the parameters that it is founded with, on arrays: one
element is one agent, one step is one day, and nothing loops over agents. It imports `core` and NumPy, and nothing else of this package;
it reads no clock and no files. Everything random comes from one seeded generator, so that a seed gives the same report, byte for byte.

Beside it stands a model of storage, hour by hour, made in the same way: `storage`, and `docs/durability.md`.

What it does not do: predict a price. `docs/economics.md` says what is assumed, with the sources, and what is left out.
"""

from __future__ import annotations
