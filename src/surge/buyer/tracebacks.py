"""A guest's tracebacks, for people: the user's frames, and what to do about errors that come of where the code runs.

The guest's own harness is the same for every job, so its frames say nothing; nor does CPython's guess at a missing module, which is about
an installation that the guest does not have.
"""

from __future__ import annotations

import re

_HARNESS = re.compile(r'^  File "<(?:turn \d+|surge harness)>", line \d+.*\n(?:    .*\n)*', re.MULTILINE)
"""A frame of the harness, with the source lines and marks below it."""

_GUESS = re.compile(r"\. Site initialization is disabled, did you forget to add the site-packages directory [^\n]*\?$", re.MULTILINE)

_MISSING = re.compile(r"^ModuleNotFoundError: No module named '([\w.]+)'", re.MULTILINE)

NO_FILE = "The guest has no files but those that are shipped: name this one in files=, and read it under /job."


def users_part(traceback: str) -> str:
    """A traceback without the harness's frames."""
    return _GUESS.sub("", _HARNESS.sub("", traceback))


def setup_advice(said: str) -> str:
    """What to do about a setup that failed, from what it said."""
    if missing := _MISSING.search(said):
        return f"the guest has no {missing[1]}: ship it with packages=, if it is pure Python, or do without"
    if said.rpartition("\n")[2].startswith("FileNotFoundError: "):
        return NO_FILE
    return 'it runs on every device: what is for this machine alone goes under `if __name__ == "__main__":`'
