"""Files from the shell: what a user types, what is said, and what comes back."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli_support import SURGE
from network_support import COIN, Town
from surge.cli import app
from surge.cli.console import run_command
from surge.storage.service import StorageConfig
from surge.wallet import Keystore

CONFIG = StorageConfig(room=256 << 20, price=2 * 10**15, spare=0)
UNICODE = "ünï/文書 🎈.txt"

Run = Callable[..., str]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), providers=5, storage=CONFIG) as town:
        yield town


@pytest.fixture
def run(town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command; what it says on both outputs, after its exit code was checked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SURGE_NETWORK", str(town.file))

    def said(*words: str | Path, code: int = 0) -> str:
        capfd.readouterr()
        found = run_command(app.surge, [str(word) for word in words])
        text = "".join(capfd.readouterr())
        assert found == code, text
        return text

    return said


def listed(run: Run, *words: str) -> Any:
    return json.loads(run(*words, "--json"))


def made(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def test_a_file_is_put_found_and_got(run: Run, tmp_path: Path) -> None:
    data = made(3_000_000)
    (tmp_path / "scan.tif").write_bytes(data)
    said = run("put", "scan.tif", "--code", "2/4", "--for", "30d")
    assert "scan.tif: 3 MB, stored as 6 MB" in said
    assert "any 2 of 4 shards give it back\nas asked, among the 5 operators that offer storage now" in said
    assert "SURGE for 30 days, " in said
    assert "and opens channels, which pay 0.04 SURGE at least" in said
    assert "stored as scan.tif; `surge get` brings it back" in said
    assert "then `surge storage keep` pays and repairs until " in said
    assert all(len(line) <= 80 for line in said.splitlines() if "scan.tif" not in line), said
    (row,) = [each for each in listed(run, "ls") if each["name"] == "scan.tif"]
    assert (row["size"], row["kind"], row["k"], row["n"]) == (3_000_000, "file", 2, 4)
    assert 29 * 86_400 < row["expires"] - row["created"] <= 30 * 86_400
    assert "got back.tif" in run("get", "scan.tif", "-o", "back.tif")
    assert (tmp_path / "back.tif").read_bytes() == data
    said = run("stat", "scan.tif")
    assert "any 2 of 4 shards of each of 1 segment give it back" in said
    assert "4 at 4 devices, 6 MB" in said
    found = listed(run, "stat", "scan.tif")
    assert (found["shards"], found["missing"], len(found["devices"])) == (4, 0, 4)
    assert all(device in said for device in found["devices"])
    assert found["month"] == pytest.approx(found["kept"] * CONFIG.price / 10**9, rel=0.01)


def test_the_devices_at_hand_choose_the_code(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    said = run("put", "a", "--name", "chosen", "--for", "forever")
    assert "chosen for the 5 operators that offer storage now" in said
    assert "SURGE a month" in said
    assert "then `surge storage keep` pays and repairs as long as it goes on" in said


def test_names_are_any_unicode_and_paths_do_not_leave(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text")
    run("put", "a", "--name", UNICODE, "--code", "1/2")
    assert UNICODE in [each["name"] for each in listed(run, "ls", "ünï")]
    run("get", UNICODE)
    assert (tmp_path / "文書 🎈.txt").read_bytes() == b"text"
    for name in ("../a", "/etc/passwd", "a//b", "a/./b", "", "a\nb"):
        assert "error: " in run("put", "a", "--name", name, code=3)
    assert "error: there is no file" in run("put", "nowhere", code=3)


def test_a_folder_is_one_name_and_each_file_in_it_can_be_got(run: Run, tmp_path: Path) -> None:
    (tmp_path / "photos" / "2026").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "photos" / "2026" / f"{number}.txt").write_bytes(b"%d" % number)
    run("put", "photos", "--code", "2/3")
    assert [each["name"] for each in listed(run, "ls", "photos")] == [f"photos/2026/{number}.txt" for number in range(3)]
    run("get", "photos/2026/1.txt", "-o", "one")
    assert (tmp_path / "one").read_bytes() == b"1"
    run("get", "photos/2026", "-o", "year")
    assert sorted(path.name for path in (tmp_path / "year").iterdir()) == ["0.txt", "1.txt", "2.txt"]
    assert "in  the folder photos, which is kept as a whole" in run("stat", "photos/2026/1.txt")
    run("get", "photos", "-o", "back")
    assert (tmp_path / "back" / "2026" / "2.txt").read_bytes() == b"2"
    for words in (("rm", "photos/2026/1.txt"), ("mv", "photos/2026", "elsewhere")):
        assert f"'{words[1]}' is in the folder 'photos', which was put as a whole: " in run(*words, code=3)
    assert "is a folder, and standard output takes one file" in run("get", "photos", "-o", "-", code=3)


def test_what_a_folder_has_no_place_for_is_said(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "file").write_bytes(b"a")
    (folder / "link").symlink_to("file")
    said = run("put", "mixed", "--code", "1/2")
    assert "left out: 1 link, 1 empty folder\n" in said
    found = listed(run, "put", "mixed", "--code", "1/2")
    assert {each["path"]: each["kind"] for each in found["left_out"]} == {"sub/empty": "empty folder", "link": "link"}
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "file").write_bytes(b"a")
    assert "left out" not in run("put", "plain", "--code", "1/2")
    (folder / "sub" / os.fsdecode(b"bad\xff")).write_bytes(b"a")
    assert f"the name bad\\xff in the folder {folder.name}/sub is not UTF-8: rename it" in run("put", "mixed", "--code", "1/2", code=3)


def test_an_empty_file_has_nothing_to_keep_and_nothing_to_drop(run: Run, tmp_path: Path) -> None:
    (tmp_path / "hollow").touch()
    assert "pledge to keep it" not in run("put", "hollow", "--code", "1/2")
    assert "removed hollow: its key is destroyed; it had no shards\n" in run("rm", "hollow")


def test_pipes(run: Run, town: Town, tmp_path: Path) -> None:
    data = made(2_500_000, seed=3)
    env = {**os.environ, "SURGE_NETWORK": str(town.file)}
    words = [*SURGE, "put", "-", "--name", "piped", "--code", "2/3"]
    subprocess.run(words, input=data, env=env, check=True, timeout=120, capture_output=True, cwd=tmp_path)
    got = subprocess.run([*SURGE, "get", "piped", "-o", "-"], env=env, check=True, timeout=120, capture_output=True, cwd=tmp_path)
    assert got.stdout == data
    assert "--name" in run("put", "-", code=2)


def test_names_are_changed_and_removed_with_receipts(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"going")
    run("put", "a", "--name", "going", "--code", "2/4")
    assert "going is gone now" in run("mv", "going", "gone")
    assert "error: nothing is stored as 'going': `surge ls` shows what is" in run("get", "going", code=3)
    before = [each for each in listed(run, "receipt", "list") if each["kind"] == "dropped"]
    assert "removed gone: its key is destroyed, and 4 of 4 shards dropped, with a receipt each" in run("rm", "gone")
    receipts = [each for each in listed(run, "receipt", "list") if each["kind"] == "dropped"]
    assert len(receipts) - len(before) == 4
    assert all(each["amount"] == 0 and each["quantity"] > 0 for each in receipts)
    assert "dropped" in run("receipt", "list")
    assert "dropped" in run("receipt", "show", receipts[0]["receipt"])
    assert "nothing is stored" in run("rm", "gone", code=3)
    run("put", "a", "--name", "prefix/one", "--code", "1/2")
    for words in (("rm", "prefix"), ("mv", "prefix", "other"), ("get", "prefix/")):
        said = run(*words, code=3)
        assert "is 1 name below it, each stored by itself: name them whole, such as 'prefix/one'" in said or words[0] == "get", said


def test_a_person_is_let_in_and_left_out(run: Run, town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"for a friend")
    run("put", "a", "--name", "shared", "--code", "2/4")
    monkeypatch.setenv("SURGE_HOME", str(tmp_path / "home"))
    run("wallet", "new", "friend")
    address = Keystore(tmp_path / "home" / "wallet").address("friend")
    town.call(town.ledger.transfer(town.treasury, address, tokens=100 * 10**18, native=COIN))

    def as_friend(*words: str | Path, code: int = 0) -> str:
        with monkeypatch.context() as env:
            env.setenv("SURGE_WALLET", "friend")
            return run(*words, code=code)

    assert "they run `surge accept --publish`" in run("share", "shared", address, code=3)
    assert "published: others share" in as_friend("accept", "--publish")
    (key,) = as_friend("accept", "--key").split()
    (link,) = [each for each in run("share", "shared", address).split() if each.startswith("surge://share/")]
    assert link in run("share", "shared", "--to-key", key), "the same again"
    assert "it is theirs/file here" in as_friend("accept", link, "theirs/file")
    as_friend("get", "theirs/file", "-o", "b")
    assert (tmp_path / "b").read_bytes() == b"for a friend"
    assert "nothing: who shared it pays" in as_friend("stat", "theirs/file")
    assert address in run("stat", "shared")
    assert "1 reader" in run("ls")
    said = run("unshare", "shared", address)
    assert f"shared has fresh keys, and {address} does not get them" in said
    assert "what they read or copied before, they have: nobody can take that back" in said
    assert "is not shared with you any more: `surge rm` forgets the name" in as_friend("get", "theirs/file", code=3)
    assert "the name is forgotten here" in as_friend("rm", "theirs/file")
    run("get", "shared", "-o", "c")
    assert (tmp_path / "c").read_bytes() == b"for a friend"
    for words in (["share", "shared"], ["accept"]):
        assert "say " in run(*words, code=2)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["put", ".", "--for", "soon"], "no time to keep something for"),
        (["put", ".", "--for", "6m"], "a month as 30d"),
        (["put", ".", "--code", "3"], "no code"),
        (["put", ".", "--code", "4/3"], "no code"),
        (["put", ".", "--code", "1/33"], "no code"),
    ],
)
def test_what_is_written_wrongly_is_said(run: Run, words: list[str], part: str) -> None:
    assert part in " ".join(run(*words, code=2).split())


def test_more_shards_than_operators_are_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    assert "30 shards go to 30 operators, and 5 operators offer storage now" in run("put", "a", "--code", "20/30", code=3)
    assert "no device offers storage now at that price" in run("put", "a", "--max-price", "1wei", code=4)


def test_a_time_that_is_none_is_refused_and_the_next_put_is_as_asked(run: Run, tmp_path: Path) -> None:
    (tmp_path / "term").write_bytes(b"a")
    said = run("put", "term", "--for", "20y", "--code", "1/2", code=3)
    assert "at most 10 years, or `forever`" in said
    assert "days=" not in said
    run("put", "term", "--for", "60d", "--code", "1/2")
    (row,) = [each for each in listed(run, "ls") if each["name"] == "term"]
    assert 59 * 86_400 < row["expires"] - row["created"] <= 60 * 86_400
