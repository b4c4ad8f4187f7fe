"""Runs inside the guest, in its `__main__`: what is put back before each item.

What an item draws must not depend on which items came before it in the unit. So everything that could tell is put back before each:
`random` and NumPy's global generator where they are loaded, and what `uuid` and `tempfile` remember. A module that only some item
imports loads outside that item's time and randomness, as if setup had imported it.
"""

import _frozen_importlib
import hashlib
import sys
import types

import _host

_call = _host.call
_sha256 = hashlib.sha256

_OUT = "/out"
"""The one folder that can be written to."""


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
