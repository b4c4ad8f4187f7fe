"""Runs inside the guest, in its `__main__`: what `import surge` gives there."""

import importlib.machinery
import sys
import types


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
