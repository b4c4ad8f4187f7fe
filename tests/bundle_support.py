"""What the tests of bundles share: a project of several modules, a script of one function, and a bundle's names."""

from __future__ import annotations

import zipfile
from pathlib import Path

from surge.buyer.bundle import Bundle
from surge.buyer.source import FileFunction, function_in_file

PROJECT = {
    "shop/__init__.py": "from .prices import LOW\n",
    "shop/prices.py": "LOW = 1\n",
    "shop/work.py": (
        "import json\nfrom . import tools\nfrom .deep.inner import more\nimport loose\n\ndef run(item):\n    import lazy\n    return item\n"
    ),
    "shop/tools.py": "import json\nimport surge\n",
    "shop/deep/__init__.py": "",
    "shop/deep/inner.py": "from ..sibling import thing\n\ndef more(): ...\n",
    "shop/sibling.py": "thing = 1\n",
    "shop/unused.py": "import never\n",
    "loose.py": "import lazy2\n",
    "lazy.py": "",
    "lazy2.py": "import loose\n",
    "never.py": "",
}


def names(bundle: Bundle) -> list[str]:
    """What is in it, in its order."""
    with zipfile.ZipFile(bundle.path) as archive:
        return archive.namelist()


def script(folder: Path, text: str = "def run(item):\n    return item\n") -> FileFunction:
    """A function of a file in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.py").write_text(text)
    return function_in_file(folder / "job.py", "run")
