"""Runs inside the guest, in its `__main__`: imports the job's module once, then applies a function to items.

Calls of the host: b"i" gives entry and items; b"b" begins the next item, with a clock and a random stream of its own; b"v" + bytes is
the unit's value; b"(" + name sets the item's clock and stream aside while a module loads, with a stream of the module's, b")" brings
them back.

What an item draws must not depend on which items came before it in the unit. So everything that could tell is put back before each:
`random` and NumPy's global generator where they are loaded, and what `uuid` and `tempfile` remember. A module that only some item
imports loads outside that item's time and randomness, as if setup had imported it.
"""

# ruff: noqa: F821  _values is the guest's own, made before this runs

import _frozen_importlib
import contextlib
import gc
import hashlib
import importlib
import importlib.machinery
import os
import sys
import traceback
import types

import _host

_call = _host.call
_sha256 = hashlib.sha256
_module = None

_OUT = "/out"
"""The one folder that can be written to."""

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


# `import surge` inside the guest


def _inert_surge():
    """A package in which every name is there, and using one says why it cannot work."""

    def refuse(name):
        raise RuntimeError(
            f"{name}() does not work inside a unit of work: a module's top level runs on the device too. "
            "Put it under `if __name__ == '__main__':`"
        )

    class Inert:
        """A function of Surge's."""

        def __init__(self, name):
            self._name = name

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return inert(f"{self._name}.{name}")

        def __call__(self, *args, **kwargs):
            refuse(self._name)

        def __enter__(self):
            refuse(self._name)

        def __exit__(self, *error):
            return False

        def __or__(self, other):
            return self

        __ror__ = __or__

    class Thing:
        """A class of Surge's: it can be named in annotations, extended and made; what it would do is refused."""

        def __init__(self, *args, **kwargs):
            pass

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return Inert(f"surge.{type(self).__name__}.{name}")

        def __enter__(self):
            refuse(f"surge.{type(self).__name__}")

        def __exit__(self, *error):
            return False

    def inert(name):
        last = name.rpartition(".")[2]
        return type(last, (Thing,), {"__module__": "surge"}) if last[:1].isupper() else Inert(name)

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

    errors = {
        name: type(name, (Exception,), {"__module__": "surge"})
        for name in (
            *("SurgeError", "InvalidInput", "NotData", "PeerFault", "GuestFault", "RemoteError", "Unavailable", "NoProvider"),
            *("LedgerError", "NotEnough", "InternalFault"),
        )
    }

    def inert_module(name):
        module = types.ModuleType(name)

        def find(attribute):
            if attribute.startswith("__"):
                raise AttributeError(attribute)
            found = errors.get(attribute) or inert(f"{name}.{attribute}")
            setattr(module, attribute, found)
            return found

        module.__getattr__ = find
        return module

    sys.meta_path.insert(0, Finder)
    surge = inert_module("surge")
    surge.__path__ = []
    return surge


# What is put back before each item


class _Random:
    """The generator behind the functions of `random`."""

    def __init__(self, module):
        self.inst = module._inst
        self.seed = super(module.Random, self.inst).seed

    def reset(self, digest):
        self.seed(int.from_bytes(digest, "little"))
        self.inst.gauss_next = None

    def save(self):
        return self.inst.getstate()

    def restore(self, state):
        self.inst.setstate(state)


class _Numpy:
    """The generator behind the functions of `numpy.random`."""

    def __init__(self, module):
        self.module = module
        self.rand = module._rand
        self.seed = module._rand.seed

    def reset(self, digest):
        load = int.from_bytes
        words = [load(digest[at : at + 4], "little") for at in (0, 4, 8, 12)]
        try:
            self.seed(words)
        except TypeError:  # the job put another kind of generator in its place
            self.module.set_bit_generator(type(self.rand._bit_generator)(words))

    def save(self):
        return self.rand.get_state(legacy=False)

    def restore(self, state):
        self.rand.set_state(state)


class _Attributes:
    """What a module remembers of the draws before."""

    fresh = types.MappingProxyType({})

    def __init__(self, module):
        self.space = vars(module)

    def reset(self, digest):
        self.space.update(self.fresh)

    def save(self):
        return {name: self.space.get(name) for name in self.fresh}

    def restore(self, state):
        self.space.update(state)


class _Uuid(_Attributes):
    fresh = types.MappingProxyType({"_node": None, "_last_timestamp": None, "_last_timestamp_v7": None, "_last_counter_v7": 0})


class _Tempfile(_Attributes):
    fresh = types.MappingProxyType({"_name_sequence": None})

    def __init__(self, module):
        super().__init__(module)
        if module.tempdir is None:  # or the first item that asks would try names, and draw more than the next
            module.tempdir = _OUT


_WATCHED = {"random": _Random, "numpy.random.mtrand": _Numpy, "uuid": _Uuid, "tempfile": _Tempfile}


class _Items:
    """Where the unit is, and what has to be put back before each item."""

    def __init__(self):
        self.seed = b""
        self.index = 0
        self.watched = []
        self.waiting = dict(_WATCHED)
        self.loading = []
        """Of each module that is loading within an item: its digest, and what was saved when it began."""

    def digest(self):
        return _sha256(self.seed + self.index.to_bytes(8, "little")).digest()

    def look(self):
        """Take up the watched modules that are loaded by now, all of them and not only their beginnings."""
        for name in [name for name in self.waiting if name in sys.modules]:
            module = sys.modules[name]
            if not getattr(module.__spec__, "_initializing", False):
                self.watched.append(self.waiting.pop(name)(module))

    def guard_imports(self):
        """Have modules that items import load beside the item's clock and randomness."""
        # In a frame that CPython leaves out of tracebacks, as it does those of its own import system.
        source = "def guarded(name, import_):\n    begin(name)\n    try:\n        return load(name, import_)\n    finally:\n        end()\n"
        space = {"load": _frozen_importlib._find_and_load, "begin": self.begin_import, "end": self.end_import}
        exec(compile(source, "<frozen importlib._bootstrap>", "exec"), space)  # noqa: S102  the text above
        _frozen_importlib._find_and_load = space["guarded"]

    def begin_import(self, name):
        request = b"(" + name.encode("utf-8", "replace")
        digest = _sha256(request).digest()
        self.loading.append((digest, [(each, each.save()) for each in self.watched]))
        _call(request)
        for each in self.watched:
            each.reset(digest)

    def end_import(self):
        _call(b")")
        _, saved = self.loading.pop()
        for each, state in saved:
            each.restore(state)
        if self.waiting:
            self.look()
        if len(saved) < len(self.watched):
            digest = self.loading[-1][0] if self.loading else self.digest()
            for each in self.watched[len(saved) :]:
                each.reset(digest)


_items = _Items()


# Setup and units


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
