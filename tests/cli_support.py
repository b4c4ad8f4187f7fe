"""The `surge` command as a user meets it: processes of its own, in a home of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

SURGE = (sys.executable, "-m", "surge.cli")

READY_SECONDS = 240.0
"""What `surge up` may take on a machine that runs other tests meanwhile."""

COMMAND_SECONDS = 120.0


class Place:
    """A home folder, a cache with nothing but the compiled Python image, a working folder, and the `surge` command run there."""

    def __init__(self, folder: Path, image: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.work.mkdir(parents=True)
        cache = folder / "cache"
        code = cache / "code" / image.parent.name
        code.mkdir(parents=True, mode=0o700)
        try:
            os.link(image, code / image.name)
        except OSError:  # another file system
            shutil.copy2(image, code / image.name)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SURGE_", "XDG_", "_SURGE"))}
        self.env = {
            **kept,
            "HOME": str(folder / "home"),
            "XDG_STATE_HOME": str(folder / "state"),
            "SURGE_HOME": str(folder / "user"),
            "SURGE_CACHE": str(cache),
        }

    def start(self, *args: str | Path, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command and leave it to the caller."""
        argv = [*SURGE, *map(str, args)]
        return subprocess.Popen(argv, cwd=self.work, env={**self.env, **(env or {})}, **options)

    def surge(
        self,
        *args: str | Path,
        code: int = 0,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout: float = COMMAND_SECONDS,
    ) -> Said:
        """Run a command to its end and see that it ends with `code`."""
        pipe = subprocess.PIPE
        with self.start(*args, env=env, stdin=pipe, stdout=pipe, stderr=pipe) as process:
            try:
                out, err = process.communicate(stdin, timeout=timeout)
            except BaseException:
                process.kill()
                raise
        said = Said(process.returncode, out, err.decode(errors="replace"))
        assert said.code == code, f"surge {' '.join(map(str, args))} ended with {said.code}:\n{said.text}\n{said.err}"
        return said

    def json(self, *args: str | Path, code: int = 0) -> Any:
        """What a listing prints with `--json`."""
        return json.loads(self.surge(*args, "--json", code=code).out)


class Said:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: bytes, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def text(self) -> str:
        return self.out.decode(errors="replace")


class Up:
    """`surge up` in a process of its own."""

    def __init__(self, place: Place, data: Path, *, providers: int = 2, relays: int = 2, jurors: int = 0) -> None:
        self.place, self.data = place, data
        self.network = data / "network.json"
        self._args = ("up", "--data", data, "--providers", str(providers), "--relays", str(relays), "--jurors", str(jurors))
        self._log = place.folder / f"{data.name}.log"
        self._seen: list[psutil.Process] = []
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start and wait for `network ready:`."""
        before = self._log.stat().st_size if self._log.is_file() else 0
        with self._log.open("ab") as log:
            self.process = self.place.start(*self._args, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def ready() -> bool:
            assert self.process.poll() is None, f"surge up ended with {self.process.returncode}:\n{self.said()}"
            return f"network ready: {self.network}" in self._log.read_bytes()[before:].decode()

        until(ready, READY_SECONDS, "surge up to be ready")
        self._seen = self.family()

    def said(self) -> str:
        """What it printed, and the ends of its children's logs."""
        parts = [self._log.read_text(errors="replace")[-3000:]]
        parts += [f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in sorted((self.data / "logs").glob("*.log"))]
        return "\n".join(parts)

    def family(self) -> list[psutil.Process]:
        """`surge up` and everything below it."""
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def child(self, command: str, index: int = 0) -> psutil.Process:
        """The process that runs `surge COMMAND` in the folder with this number."""
        found = []
        for process in psutil.Process(self.process.pid).children():
            try:
                words = process.cmdline()
            except psutil.Error:  # killed a moment ago
                continue
            if command in words and (command == "ledger" or Path(words[words.index("--data") + 1]).name == str(index)):
                found.append(process)
        assert len(found) == 1, f"{len(found)} processes run surge {command} {index}"
        return found[0]

    def has(self, command: str, index: int = 0) -> bool:
        """Whether that process runs."""
        try:
            return self.child(command, index).is_running()
        except (AssertionError, psutil.NoSuchProcess):
            return False

    def running(self) -> bool:
        """Whether `surge up` itself runs."""
        return hasattr(self, "process") and self.process.poll() is None

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self._seen = self._all_seen()
        self.process.terminate()
        return self.process.wait(60)

    def kill(self) -> None:
        """SIGKILL to `surge up` alone."""
        self._seen = self._all_seen()
        self.process.kill()
        self.process.wait(10)

    def kill_all(self) -> None:
        """SIGKILL to everything at once, as a power cut would be."""
        self._seen = self._all_seen()
        for process in self._seen:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait(10)

    def left(self) -> list[psutil.Process]:
        """What still runs of everything seen so far."""
        return [process for process in self._seen if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]

    def end(self) -> None:
        """Leave nothing running, whatever happened."""
        if self.running():
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        for process in self.left():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue

    def _all_seen(self) -> list[psutil.Process]:
        try:
            now = self.family()
        except psutil.NoSuchProcess:
            now = []
        return list({(process.pid, process.create_time()): process for process in [*self._seen, *now] if process.is_running()}.values())


def until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until something holds that another process brings about."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.1)


def jsonl(path: Path, values: Sequence[Any]) -> Path:
    """Write a JSONL file."""
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def lines(path: Path) -> list[Any]:
    """Read a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
