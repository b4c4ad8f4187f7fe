"""WASI preview 1 for guests, as pure Python over a tree in memory.

The host's own WASI is never linked: a guest's call reaches no system call, so a worker needs no right to open
anything, and every time, order, clock and random draw is the same everywhere. `world.World` is one unit's state,
`imports.IMPORTS` the functions. Nothing here knows of wasmtime.
"""
