"""The guest's files: trees from zips that strangers made."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surge.sandbox import zipped
from surge.sandbox.vfs import Blob, Directory
from surge.sandbox.zipped import BadZip, tree_of_zip


def zip_of(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED, folders: tuple[str, ...] = ()) -> memoryview:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as archive:
        warnings.simplefilter("ignore")
        for folder in folders:
            archive.writestr(zipfile.ZipInfo(folder + "/"), b"")
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=compression)
    return memoryview(buffer.getvalue())


def content(tree: Directory) -> dict[str, bytes]:
    return {path.decode(): bytes(node.data()) for path, node in tree.walk() if isinstance(node, Blob)}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_shows_its_files(compression: int) -> None:
    files = {"a.txt": b"one", "deep/er/b.bin": bytes(range(256)) * 40, "deep/empty": b""}
    assert content(tree_of_zip(zip_of(files, compression, folders=("nothing", "deep")))) == files


def test_walk_is_in_the_order_of_path_bytes() -> None:
    tree = tree_of_zip(zip_of({"b": b"", "a/z": b"", "a-": b"", "a/a": b"", "é": b""}))
    assert [path for path, _ in tree.walk()] == [b"a-", b"a/a", b"a/z", b"b", "é".encode()]


@pytest.mark.parametrize("name", ["../up", "a/../../up", "/abs", "a//b", "./a", "a/.", "a\\b", "a/..", "x" * 256, "/".join("y" * 3000)])
def test_a_name_that_is_not_a_plain_relative_path_is_refused(name: str) -> None:
    with pytest.raises(BadZip):
        tree_of_zip(zip_of({name: b"x"}))


def test_a_name_twice_and_a_file_used_as_a_folder_are_refused() -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    with pytest.raises(BadZip, match="twice"):
        tree_of_zip(memoryview(buffer.getvalue()))
    with pytest.raises(BadZip, match="passes through a file"):
        tree_of_zip(zip_of({"a": b"1", "a/b": b"2"}))


def test_other_compressions_and_encryption_are_refused() -> None:
    with pytest.raises(BadZip, match="method 12"):
        tree_of_zip(zip_of({"a": b"1" * 100}, zipfile.ZIP_BZIP2))
    data = bytearray(zip_of({"a": b"1"}))
    directory = data.rindex(b"PK\1\2")
    data[directory + 8] |= 1
    with pytest.raises(BadZip, match="encrypted"):
        tree_of_zip(memoryview(data))


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipped, "MAX_UNPACKED", 1000)
    with pytest.raises(BadZip, match="unpacked"):
        tree_of_zip(zip_of({"a": bytes(600), "b": bytes(600)}))


def test_a_member_that_unpacks_to_more_than_it_states_is_an_error_of_that_file() -> None:
    data = bytearray(zip_of({"bomb": bytes(100_000)}))
    directory = data.rindex(b"PK\1\2")
    struct.pack_into("<I", data, directory + 24, 10)
    ((_, node),) = tree_of_zip(memoryview(data)).walk()
    assert isinstance(node, Blob)
    with pytest.raises(OSError, match="does not unpack"):
        node.data()


@pytest.mark.parametrize("files", [{str(n): b"" for n in range(4)}, {"a/b/c/d": b""}])
def test_too_many_files_and_folders_are_refused(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    monkeypatch.setattr(zipped, "MAX_NODES", 3)
    with pytest.raises(BadZip, match="more than 3"):
        tree_of_zip(zip_of(files))


def test_a_zip_that_could_be_read_two_ways_is_refused() -> None:
    whole = bytes(zip_of({"a": b"1"}, zipfile.ZIP_STORED))
    end = whole.rindex(b"PK\5\6")
    for wrong, reason in (
        (b"before" + whole, "before or behind"),
        (whole + b"behind", "comment"),
        (whole[:-2] + b"\4\0note", "comment"),
        (whole[:end] + b"more" + whole[end:], "before or behind"),
        (whole.replace(b"a1", b"b1", 1), "no header where"),
        (whole[: end + 10] + b"\2" + whole[end + 11 :], "several parts"),
        (whole[:20], "too short"),
        (b"", "too short"),
    ):
        with pytest.raises(BadZip, match=reason):
            tree_of_zip(memoryview(wrong))


def test_a_zip_written_as_a_stream_is_read() -> None:
    class Stream(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, piece: bytes) -> int:  # type: ignore[override]
            self.data += piece
            return len(piece)

    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
        archive.writestr("ö/a", b"hello" * 100)
        archive.writestr("b", b"")
    assert content(tree_of_zip(memoryview(stream.data))) == {"ö/a": b"hello" * 100, "b": b""}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_never_gives_anything_but_a_bad_zip_or_files(data: st.DataObject) -> None:
    whole = bytearray(zip_of({"a": b"hello" * 50, "d/b": b"x"}))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    try:
        tree = tree_of_zip(memoryview(whole)[:cut] if data.draw(st.booleans()) else memoryview(whole))
        for _, node in tree.walk():
            assert isinstance(node, Blob)
            try:
                assert len(node.data()) == node.size
            except OSError:
                continue
    except BadZip:
        return
