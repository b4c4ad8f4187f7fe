"""Runs inside the guest, in its `__main__`: imports the job's module once, then applies a function to items.

Calls of the host: b"i" gives entry and items, b"b" + index (8 bytes, little-endian) begins an item, b"v" + bytes is the unit's value.
"""

# ruff: noqa: F821  _values and _host are the guest's own

import gc
import hashlib
import importlib
import importlib.machinery
import os
import random
import sys
import traceback
import types

import _host

_call = _host.call
_sha256 = hashlib.sha256
_module = None

_MAX_TRACEBACK = 20_000
"""Characters of a traceback that are kept, from its end."""


def _inert_surge():
    """`import surge` inside a unit: names are there, using them says why they cannot work."""

    class Inert:
        def __init__(self, name):
            self._name = name

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return Inert(f"{self._name}.{name}")

        def __call__(self, *args, **kwargs):
            raise RuntimeError(
                f"{self._name}() does not work inside a unit of work: a module's top level runs on the device too. "
                "Put it under `if __name__ == '__main__':`"
            )

        def __enter__(self):
            self()

        def __exit__(self, *error):
            return False

    class Finder:
        """`import surge.anything` gives an inert module too."""

        @staticmethod
        def find_spec(name, path=None, target=None):
            if name.startswith("surge."):
                return importlib.machinery.ModuleSpec(name, Finder, is_package=True)
            return None

        @staticmethod
        def create_module(spec):
            return inert_module(spec.name)

        @staticmethod
        def exec_module(module):
            return None

    def inert_module(name):
        module = types.ModuleType(name)
        module.__getattr__ = lambda attribute: Inert(f"{name}.{attribute}")
        return module

    sys.meta_path.insert(0, Finder)
    surge = inert_module("surge")
    for name in ("SurgeError", "InvalidInput", "GuestFault", "RemoteError", "Unavailable", "NoProvider", "NotEnough"):
        setattr(surge, name, type(name, (Exception,), {"__module__": "surge"}))
    surge.__path__ = []
    return surge


def _surge_setup(name):
    """Import the job's module: its top level is the setup."""
    global _module
    sys.dont_write_bytecode = True
    sys.path[:0] = ["/job", "/job/.packages"]
    sys.modules["surge"] = _inert_surge()
    os.chdir("/job")
    random.seed(0)
    try:
        _module = importlib.import_module(name)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    gc.collect()
    gc.freeze()


def _error(error):
    """An item's result when its call raised."""
    try:
        here = error.__traceback__
        text = "".join(traceback.format_exception(type(error), error, here.tb_next if here else None))
        return ["error", type(error).__name__, str(error)[:4000], text[-_MAX_TRACEBACK:]]
    except BaseException as worse:
        return ["error", type(error).__name__, f"(its message cannot be shown: {type(worse).__name__})", ""]


def _reseed_numpy(numpy, digest):
    numpy.random.seed([int.from_bytes(digest[at : at + 4], "little") for at in (0, 4, 8, 12)])


def _surge_unit():
    """Apply the entry's function to each item, in a fresh clock and fresh randomness."""
    request = _call(b"i")
    length = int.from_bytes(request[:4], "little")
    name, style, first, seed = _values.loads(request[4 : 4 + length])
    items = _values.loads(request[4 + length :])
    del request
    function = _module
    for part in name.split("."):
        function = getattr(function, part)
    out = bytearray((_values.VERSION,))
    encode = _values._encode
    _values._head(out, 4, len(items))
    seed_random = random.seed
    index = first
    for item in items:
        key = index.to_bytes(8, "little")
        digest = _sha256(seed + key).digest()
        _call(b"b" + key)
        seed_random(int.from_bytes(digest, "little"))
        numpy = sys.modules.get("numpy")
        if numpy is not None:
            _reseed_numpy(numpy, digest)
        mark = len(out)
        try:
            value = function(*item[0], **item[1]) if style else function(item)
            encode(["ok", value], out, 1)
        except BaseException as error:
            del out[mark:]
            encode(_error(error), out, 1)
        index += 1
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass  # the unit closed or replaced its own streams: what it wrote before stands
    _call(b"v" + bytes(out))
