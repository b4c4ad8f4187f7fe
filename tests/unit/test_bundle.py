"""Bundles: their bytes depend on content alone, and what must not travel does not."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bundle_support import names, script
from surge.buyer.bundle import make_bundle, write_zip
from surge.core.storage.stored import StoredName, StoredPart
from surge.errors import InvalidInput


def test_the_same_content_has_the_same_bytes_wherever_and_whenever(tmp_path: Path) -> None:
    made = []
    for number, order in enumerate((["a.txt", "b.txt"], ["b.txt", "a.txt"])):
        folder = tmp_path / f"place{number}"
        function = script(folder)
        for name in order:
            (folder / name).write_text(name)
            os.utime(folder / name, (number * 10**6, number * 10**6))
            (folder / name).chmod(0o600 if number else 0o755)
        made.append(make_bundle(function, tmp_path / f"out{number}", files={name: folder / name for name in order}))
    assert made[0].path.read_bytes() == made[1].path.read_bytes()
    assert made[0].digest == made[1].digest
    assert list((tmp_path / "out0").iterdir()) == [made[0].path]


def test_the_same_content_has_the_same_bytes_in_every_process(project: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, '.')\n"
        "import shop.work\nfrom pathlib import Path\nfrom surge.buyer.bundle import make_bundle\n"
        "bundle = make_bundle(shop.work.run, Path(sys.argv[1]))\nprint(bundle.digest.hex(), bundle.setup.hex())\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program, str(project / f"out{seed}")],
            env={"PYTHONHASHSEED": seed, "TZ": f"UTC{seed}"},
            cwd=project,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1


def test_files_travel_under_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    function = script(tmp_path)
    (tmp_path / "data" / ".git").mkdir(parents=True)
    (tmp_path / "data" / "x.csv").write_text("x")
    (tmp_path / "data" / ".git" / "secret").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert names(make_bundle(function, tmp_path / "out", files=["data/x.csv"])) == ["data/x.csv", "job.py"]
    assert names(make_bundle(function, tmp_path / "out", files="data")) == ["data/x.csv", "job.py"]
    assert names(make_bundle(function, tmp_path / "out", files=[tmp_path / "data" / "x.csv"])) == ["job.py", "x.csv"]
    assert names(make_bundle(function, tmp_path / "out", files={"in/y.csv": "data/x.csv"})) == ["in/y.csv", "job.py"]


def test_a_folder_is_shipped_without_what_is_nobodys_data(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("x", "deep/y", ".env", "__pycache__/a.pyc", "node_modules/m.js", "venv/pyvenv.cfg", "venv/lib/site.py", "deep/.ssh/id"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(name)
    (data / "inside").symlink_to(data / "x")
    (data / "loop").symlink_to(data)
    bundle = make_bundle(script(tmp_path), tmp_path / "out", files={"data": data})
    assert names(bundle) == ["data/deep/y", "data/inside", "data/x", "job.py"]
    (data / "deep" / "out").symlink_to("/etc/hostname")
    with pytest.raises(InvalidInput, match="link out of the folder"):
        make_bundle(script(tmp_path), tmp_path / "out", files={"data": data})


def test_a_private_key_never_travels(tmp_path: Path) -> None:
    from surge.wallet import Keystore

    store = Keystore(tmp_path / "data" / "keys")
    store.create("plain")
    store.create("closed", passphrase="secret")
    (tmp_path / "server.pem").write_text("-----BEGIN EC PRIVATE KEY-----\nMHcC\n")
    (tmp_path / "fine.json").write_text('{"key": 1}')
    function = script(tmp_path)
    for path in (tmp_path / "data", tmp_path / "data/keys/plain.json", tmp_path / "data/keys/closed.json", tmp_path / "server.pem"):
        with pytest.raises(InvalidInput, match="private key"):
            make_bundle(function, tmp_path / "out", files=[path])
    assert names(make_bundle(function, tmp_path / "out", files=[tmp_path / "fine.json"])) == ["fine.json", "job.py"]


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "", ".", "a\\b", "a\0b", "job.py", "./job.py"])
def test_names_that_leave_or_collide_are_refused(tmp_path: Path, name: str) -> None:
    function = script(tmp_path)
    (tmp_path / "x").write_text("x")
    with pytest.raises(InvalidInput):
        make_bundle(function, tmp_path / "out", files={name: tmp_path / "x"})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("files", [{"a": "f", "a/b": "f"}, {"a/b": "f", "a": "f"}, {"job.py/x": "f"}])
def test_a_name_cannot_be_a_file_and_a_folder(tmp_path: Path, files: dict[str, str]) -> None:
    function = script(tmp_path)
    (tmp_path / "f").write_text("x")
    with pytest.raises(InvalidInput, match="folder"):
        make_bundle(function, tmp_path / "out", files={name: tmp_path / path for name, path in files.items()})


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    function = script(tmp_path / "p")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x").write_text(folder)
    with pytest.raises(InvalidInput, match="twice"):
        make_bundle(function, tmp_path / "out", files=[tmp_path / "a" / "x", tmp_path / "b" / "x"])
    with pytest.raises(InvalidInput, match="no file"):
        make_bundle(function, tmp_path / "out", files=[tmp_path / "absent"])


def wheel(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def test_a_pure_wheel_is_unpacked(tmp_path: Path) -> None:
    made = wheel(tmp_path / "tiny-1.0-py3-none-any.whl", {"tiny/__init__.py": "", "tiny-1.0.dist-info/METADATA": ""})
    bundle = make_bundle(script(tmp_path), tmp_path / "out", packages=[made])
    assert names(bundle) == [".packages/tiny-1.0.dist-info/METADATA", ".packages/tiny/__init__.py", "job.py"]


def test_a_wheels_data_goes_where_pip_would_put_it(tmp_path: Path) -> None:
    members = {"tiny-1.0.data/purelib/tiny/a.py": "", "tiny-1.0.data/scripts/tool": "", "tiny-1.0.data/platlib/b.py": "", "c.py": ""}
    made = wheel(tmp_path / "tiny-1.0-py3-none-any.whl", members)
    bundle = make_bundle(script(tmp_path), tmp_path / "out", packages=[made])
    assert names(bundle) == [".packages/b.py", ".packages/c.py", ".packages/tiny/a.py", "job.py"]


@pytest.mark.parametrize(
    ("name", "members", "message"),
    [
        ("tiny-1.0-cp311-cp311-linux_x86_64.whl", {"tiny.py": ""}, "one platform"),
        ("tiny-1.0-py3-none-any.whl", {"tiny/fast.so": ""}, "native code"),
        ("tiny-1.0-py3-none-any.whl", {"../escape.py": ""}, "leaves"),
        ("tiny-1.0-py3-none-any.whl", {"/etc/escape.py": ""}, "leaves"),
        ("tiny-1.0.tar.gz", {"tiny.py": ""}, "no wheel"),
    ],
)
def test_wheels_that_cannot_run_or_leave_are_refused(tmp_path: Path, name: str, members: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        make_bundle(script(tmp_path), tmp_path / "out", packages=[wheel(tmp_path / name, members)])


def test_a_damaged_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny-1.0-py3-none-any.whl").write_bytes(b"PK no zip")
    with pytest.raises(InvalidInput, match="readable wheel"):
        make_bundle(script(tmp_path), tmp_path / "out", packages=[tmp_path / "tiny-1.0-py3-none-any.whl"])


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="too many"):
        write_zip({str(number): b"" for number in range(10_001)}, tmp_path)


def test_stored_files_are_no_part_of_a_bundle_and_their_place_is_not_taken(tmp_path: Path) -> None:
    function = script(tmp_path)
    (tmp_path / "a.txt").write_text("here")
    with pytest.raises(InvalidInput, match="where a unit finds stored files"):
        make_bundle(function, tmp_path / "out", files={".stored/a.txt": tmp_path / "a.txt"})
    part = StoredPart(bytes(32), 1, 0, 1, "a.txt")
    with pytest.raises(InvalidInput, match=r"'a\.txt' is stored, so name it in an item"):
        make_bundle(function, tmp_path / "out", files=[StoredName("a.txt", lambda _: part)])
