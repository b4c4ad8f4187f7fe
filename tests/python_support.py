"""What the tests of Python in the guest share: a sandbox, and modules in it."""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sandbox_support import pieces
from surge.core import canonical, values
from surge.core.units import Limits, Outcome, OutputBytes, Status
from surge.sandbox import Execution, Sandbox

SEED = bytes(range(32))


class Job:
    """A module in a sandbox."""

    def __init__(self, sandbox: Sandbox, folder: Path, sources: Mapping[str, str | bytes], setup: Mapping[str, Any]) -> None:
        self.sandbox = sandbox
        self.file = folder / f"{hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest()[:16]}.zip"
        with zipfile.ZipFile(self.file, "w") as bundle:
            for name, text in sorted(sources.items()):
                bundle.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)
        self.bundle = hashlib.sha256(self.file.read_bytes()).digest()
        self.description = canonical.encode(dict(setup))

    async def setup(self, **limits: int) -> Execution:
        return await self.sandbox.python.setup(self.bundle, self.file, self.description, Limits(**limits))

    async def unit(
        self, function: str, items: Sequence[Any], *, first: int = 0, style: int = 0, seed: bytes = SEED, **limits: int
    ) -> tuple[Outcome, OutputBytes]:
        entry = canonical.encode([function, style, first, seed])
        encoded = values.dumps(list(items))
        ran = await self.sandbox.python.run(self.bundle, self.file, self.description, entry, encoded, Limits(**limits))
        return ran.outcome, pieces(ran)

    async def results(self, function: str, items: Sequence[Any], **options: Any) -> list[Any]:
        outcome, output = await self.unit(function, items, **options)
        assert outcome.status is Status.FINISHED, output.stderr
        found = values.loads(output.value)
        assert len(found) == len(items)
        return found

    async def values(self, function: str, items: Sequence[Any], **options: Any) -> list[Any]:
        found = await self.results(function, items, **options)
        assert all(len(entry) == 2 and entry[0] == "ok" for entry in found), found
        return [entry[1] for entry in found]


@contextlib.asynccontextmanager
async def open_sandbox(cache: Path, **options: Any) -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(cache, **{"workers": 1, "memory": 2 << 30, **options})
    await sandbox.start()
    try:
        yield sandbox
    finally:
        await sandbox.close()


Make = Callable[..., Job]
