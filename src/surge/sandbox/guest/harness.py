"""Runs inside the guest, in its `__main__`: imports the job's module once, then applies a function to items.

Calls of the host: b"i" gives entry and items; b"b" begins the next item, with a clock and a random stream of its own; b"v" + bytes is
the unit's value; b"(" + name sets the item's clock and stream aside while a module loads, with a stream of the module's, b")" brings
them back.

`_values`, `_inert_surge`, `_items` and `_OUT` are there before this runs, by `core.values` and the files beside this one.
"""

# ruff: noqa: F821

import contextlib
import gc
import importlib
import os
import sys
import traceback
import types

import _host

_call = _host.call
_module = None

_MAX_TRACEBACK = 20_000
"""Characters of a traceback that are kept, from its end."""
_MAX_TEXT = 4_000
"""Characters of an exception's message that are kept."""


_PROCESSES = ("fork", "system", "popen", "pipe", "spawn", "exec", "posix_spawn")
_NETWORK = "A unit of work has no network: pass what it needs as part of each item, or with files=."
_ADVICE = (
    (("module '_socket' has no attribute", "module 'socket' has no attribute"), _NETWORK),
    (
        ("can't start new thread", "does not support processes", *(f"'os' has no attribute '{each}" for each in _PROCESSES)),
        "A unit of work has one thread, and no other processes: call what is to run, and leave the spreading to map.",
    ),
    (("No module named '",), "The guest lacks this module: ship it with packages=, if it is pure Python, or do without."),
)
"""By words in an error's message: what to do."""


def _surge_setup(name, imports):
    """Import the job's module, whose top level is the setup, and then what its function would import when called."""
    global _module
    sys.dont_write_bytecode = True
    sys.path[:0] = ["/job", "/job/.packages"]
    sys.modules["surge"] = _inert_surge()
    os.environ["TMPDIR"] = _OUT
    os.chdir("/job")
    try:
        __import__(name)  # which leaves the steps of importing out of an error's traceback
        _module = sys.modules[name]
        for each in imports:
            with contextlib.suppress(Exception):  # the function's own import will say so, or knows what to do without
                importlib.import_module(each)
        if "numpy" in sys.modules and _mentions_random():
            importlib.import_module("numpy.random")  # which NumPy itself puts off
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    os.chdir("/job")
    _items.look()
    _items.guard_imports()
    gc.collect()
    gc.freeze()


def _mentions_random():
    for module in list(sys.modules.values()):
        if not isinstance(module, types.ModuleType):
            continue
        file = object.__getattribute__(module, "__dict__").get("__file__")  # so that a lazy module stays unloaded
        if type(file) is str and file.startswith("/job/"):
            try:
                with open(file, "rb") as source:
                    if b"random" in source.read():
                        return True
            except OSError:
                continue
    return False


def _plain(text, limit):
    """Text that can travel: exactly a str, without lone surrogates."""
    return str.encode(text, "utf-8", "backslashreplace").decode()[-limit:]


def _advice(message, here):
    """What to do about an error that comes of where the code runs; nothing for any other."""
    while here and here.tb_next:
        here = here.tb_next
    in_sockets = here is not None and here.tb_frame.f_code.co_filename.endswith("/socket.py")
    for words, advice in _ADVICE:
        if any(each in message for each in words) or (advice is _NETWORK and in_sockets and "Not supported" in message):
            return f"{advice}\n"
    return ""


def _error(error):
    """An item's result when its call raised, or what it gave is not data."""
    if type(error) is _values.ValueRefused:
        return ["error", "NotData", _plain(f"the result cannot travel: {error}", _MAX_TEXT), ""]
    kind = _plain(type(error).__name__, _MAX_TEXT)
    try:
        message = _plain(str(error)[:_MAX_TEXT], 2 * _MAX_TEXT)
    except BaseException as worse:
        message = f"(its message cannot be shown: {_plain(type(worse).__name__, _MAX_TEXT)})"
    here = error.__traceback__
    here = here.tb_next if here else None
    try:
        lines = traceback.format_exception(type(error), error, here)
    except BaseException:  # the exception's own doing; where it was raised can be told without asking it
        lines = ["Traceback (most recent call last):\n", *traceback.format_tb(here), f"{kind}: {message}\n"]
    return ["error", kind, message, _plain("".join(lines) + _advice(message, here), _MAX_TRACEBACK)]


def _request():
    """The unit's entry and its items. A large input is there twice at most: as it came, and as what it says."""
    try:
        request = _call(b"i")
        length = int.from_bytes(request[:4], "little")
        entry, data = _values.loads(request[4 : 4 + length]), request[4 + length :]
        del request
        return entry, _values.loads(data)
    except (MemoryError, OSError, _values.ValueRefused) as error:  # an OSError: the host found no room for its answer
        if type(error) is _values.ValueRefused and "MemoryError" not in str(error):
            raise
        raise MemoryError("the items do not fit into the unit's memory: raise memory=, or pass fewer or smaller ones") from None


def _surge_unit():
    """Apply the entry's function to each item, each in a fresh clock and fresh randomness."""
    (name, style, first, seed), items = _request()
    function = _module
    for part in name.split("."):
        function = getattr(function, part)
    out = bytearray((_values.VERSION,))
    encode = _values.encode_into
    _values.begin_list(out, len(items))
    at = _items
    at.seed, at.index = seed, first
    watched = at.watched
    for item in items:
        _call(b"b")
        if watched:
            digest = at.digest()
            for each in watched:
                each.reset(digest)
        mark = len(out)
        value = None
        try:
            value = function(*item[0], **item[1]) if style else function(item)
            out += b"\x82bok"
            encode(value, out)
        except BaseException as error:
            value = None
            del out[mark:]
            encode(_error(error), out)
        at.index += 1
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass  # the unit closed or replaced its own streams: what it wrote before stands
    _call(b"v" + out)
