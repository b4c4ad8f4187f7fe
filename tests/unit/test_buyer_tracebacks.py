"""What users see of a guest's traceback: their frames, and what to do."""

from __future__ import annotations

from surge.buyer.endings import guest_fault, setup_fault
from surge.buyer.results import item_error
from surge.core.units import Outcome, Part, Status

HARNESS = """\
Traceback (most recent call last):
  File "<turn 1>", line 18, in <module>
    _surge_setup('work', [])
    ~~~~~~~~~~~~^^^^^^^^^^^^
  File "<surge harness>", line 53, in _surge_setup
"""
"""How CPython in the guest begins to tell of a setup that raised."""

GUESS = ". Site initialization is disabled, did you forget to add the site-packages directory to sys.path or to enable your environment?"

ADVICE = "The guest has no files but those that are shipped: name this one in files=, and read it under /job."


def failed(said: str) -> str:
    """The message of a setup that wrote this to standard error and ended."""
    data, nothing = said.encode(), Part.of(b"")
    outcome = Outcome(Status.EXITED, 1, nothing, nothing, Part.of(data), (), b"", 0)
    return setup_fault(guest_fault(outcome, data, "the program raised")).message


def test_a_setups_error_shows_the_users_frames_alone() -> None:
    frames = '  File "/job/work.py", line 3, in <module>\n    g()\n    ~^^\n  File "/job/work.py", line 2, in g\n    1 / 0\n'
    said = failed(HARNESS + frames + "ZeroDivisionError: division by zero\n")
    assert f"Traceback (most recent call last):\n{frames}ZeroDivisionError: division by zero\n" in said
    assert "harness" not in said
    assert "turn" not in said
    assert said.endswith('goes under `if __name__ == "__main__":`')
    said = failed(f"ValueError: one\n\nThe above exception was the direct cause ...\n\n{HARNESS}{frames}work.E: two\n")
    assert said.count("_surge_setup") == 0
    assert "\n\nTraceback (most recent call last):\n" + frames in said


def test_a_missing_module_comes_without_a_guess_at_the_guests_installation() -> None:
    said = failed(
        f"{HARNESS}  File \"/job/work.py\", line 1, in <module>\n    import torch\nModuleNotFoundError: No module named 'torch'{GUESS}\n"
    )
    assert said.endswith(
        "import torch\nModuleNotFoundError: No module named 'torch'\n"
        "the guest has no torch: ship it with packages=, if it is pure Python, or do without"
    )
    trace = f"Traceback (most recent call last):\nModuleNotFoundError: No module named 'x'{GUESS}\nThe guest lacks this module: ...\n"
    error = item_error(["error", "ModuleNotFoundError", "No module named 'x'", trace], 4)
    assert str(error).endswith("\nModuleNotFoundError: No module named 'x'\nThe guest lacks this module: ...")


def test_a_missing_file_comes_with_advice() -> None:
    words = "FileNotFoundError: [Errno 44] No such file or directory: 'table.csv'"
    assert failed(f"{HARNESS}  File \"/job/work.py\", line 1, in <module>\n    open('table.csv')\n{words}\n").endswith(
        f"\n{words}\n{ADVICE}"
    )
    assert ADVICE not in failed(f"{words}\n\nDuring handling ...\n{HARNESS}ValueError: no table\n")
    error = item_error(["error", "FileNotFoundError", words[19:], f"Traceback (most recent call last):\n{words}\n"], 0)
    assert str(error).endswith(f"{words}\n{ADVICE}")
    assert ADVICE not in str(item_error(["error", "ValueError", "no", "Traceback"], 0))
