"""Packed folders: a few reads find every file; an index that would write outside its folder, or lies about a size, is refused."""

from __future__ import annotations

import struct
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surge.core import canonical
from surge.core.storage import trees
from surge.core.storage.trees import FOOTER, MAGIC, Directory, Entry, Footer, Writer, checked_path, read_directory, read_footer
from surge.errors import InvalidInput, PeerFault

PARTS = st.text(st.characters(codec="utf-8", exclude_characters="/\x00"), min_size=1, max_size=8).filter(
    lambda part: part not in (".", "..")
)
PATHS = st.lists(PARTS, min_size=1, max_size=3).map(lambda parts: "x/" + "/".join(parts) + "/f")


def packed(files: list[tuple[str, int]]) -> tuple[int, bytes]:
    """Where the index of some files begins, and the index."""
    writer = Writer()
    for path, size in files:
        writer.add(path, size, 1_700_000_000_000_000_000, executable=size % 2 == 1)
    return sum(size for _, size in files), writer.finish()


def read(start: int, index: bytes) -> tuple[Directory, list[list[Entry]]]:
    def at(first: int, size: int) -> bytes:
        return index[first - start : first - start + size]

    size = start + len(index)
    footer = read_footer(at(size - FOOTER, FOOTER), size)
    directory = read_directory(at(footer.start, footer.size), footer)
    return directory, [directory.read_page(number, at(page.start, page.size)) for number, page in enumerate(directory.pages)]


@settings(deadline=None)
@given(st.dictionaries(PATHS.map(checked_path), st.integers(0, 1 << 40), max_size=20))
def test_what_is_packed_is_found(files: dict[str, int]) -> None:
    paths = sorted(files, key=str.encode)
    start, index = packed([(path, files[path]) for path in paths])
    directory, pages = read(start, index)
    entries = [entry for page in pages for entry in page]
    assert [(entry.path, entry.size) for entry in entries] == [(path, files[path]) for path in paths]
    assert all(entry.executable == (entry.size % 2 == 1) for entry in entries)
    assert [entry.offset for entry in entries] == [sum(files[each] for each in paths[:number]) for number in range(len(paths))]
    assert directory.files == len(files)


def test_a_file_among_thousands_is_in_the_page_that_the_directory_names() -> None:
    names = [f"folder {number // 100:03}/file {number:05}" for number in range(5000)]
    directory, pages = read(*packed([(name, 10) for name in names]))
    assert [len(page) for page in pages] == [1024, 1024, 1024, 1024, 904]
    for number in (0, 1023, 1024, 4999):
        page = directory.page_with(names[number])
        assert page is not None
        assert Entry(names[number], number * 10, 10, 1_700_000_000_000_000_000) in pages[page]
    assert directory.page_with("a") is None


def test_an_empty_folder_is_an_index_without_pages() -> None:
    directory, pages = read(*packed([]))
    assert (directory, pages) == (Directory((), 0), [])


@pytest.mark.parametrize(
    "path",
    ["", "/", "/etc/passwd", "..", "../a", "a/../b", "a/..", ".", "./a", "a//b", "a/", "a\x00b", "x" * 4097, "\ud800", "é" * 2049],
)
def test_a_path_that_leaves_its_folder_or_is_none_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput, match="path"):
        checked_path(path)
    with pytest.raises(InvalidInput, match="path"):
        Writer().add(path, 0, 0)


@pytest.mark.parametrize("path", ["...", "..a", "a/.b", "\u202e", "a\\b", "C:", "日本/語", "x" * 4096, "a\nb"])
def test_any_other_unicode_is_a_path(path: str) -> None:
    assert checked_path(path) == path


def test_one_name_in_two_forms_is_one_path() -> None:
    writer = Writer()
    writer.add("e\u0301", 0, 0)
    with pytest.raises(InvalidInput, match="twice"):
        writer.add("\xe9", 0, 0)


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (["b", "a"], "out of order"),
        (["a", "a"], "twice"),
        (["a", "a/b"], "below"),
        (["a", "a!", "a/b"], "below"),
        (["a/b", "a/b!", "a/b/c/d"], "below"),
    ],
)
def test_paths_out_of_order_or_below_a_file_are_refused_by_writer_and_reader(paths: list[str], why: str) -> None:
    writer = Writer()
    for path in paths[:-1]:
        writer.add(path, 0, 0)
    with pytest.raises(InvalidInput, match=why):
        writer.add(paths[-1], 0, 0)
    with pytest.raises(PeerFault, match=why):
        read(0, written([[path, 0, 0, 0, False] for path in paths]))


def test_a_name_that_begins_like_a_file_is_not_below_it() -> None:
    read(*packed([("a", 1), ("a!/b", 1), ("ab", 1), ("b/a", 1), ("b/b", 1)]))


@pytest.mark.parametrize(("size", "mtime"), [(-1, 0), (1 << 49, 0), (0, 1 << 63), (0, -(1 << 63) - 1)])
def test_a_size_or_time_that_no_file_has_is_refused(size: int, mtime: int) -> None:
    with pytest.raises(InvalidInput, match="too large"):
        Writer().add("a", size, mtime)


def test_the_writer_stops_where_readers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "MOST_PAGES", 1)
    monkeypatch.setattr(trees, "PAGE_ENTRIES", 2)
    writer = Writer()
    writer.add("a", 0, 0)
    writer.add("b", 0, 0)
    with pytest.raises(InvalidInput, match="at most 2 files"):
        writer.add("c", 0, 0)
    monkeypatch.setattr(trees, "MOST_DIRECTORY", 5)
    with pytest.raises(InvalidInput, match="too long together"):
        writer.finish()


ROWS: list[Any] = [["a", 0, 5, 7, False], ["b", 5, 6, 7, True], ["c/d", 11, 0, 7, False]]


def written(rows: list[Any], directory: list[Any] | None = None, files: int | None = None, magic: bytes = MAGIC) -> bytes:
    """An index as a liar writes it, over files whose bytes are not there but for an honest 11."""
    end = sum(row[2] for row in rows)
    page = canonical.encode(rows)
    whole = canonical.encode([[rows[0][0], end, len(page), 0, end]] if directory is None else directory)
    return page + whole + struct.pack(">8sQQQ", magic, end + len(page), len(whole), len(rows) if files is None else files)


def test_the_index_is_what_the_format_says() -> None:
    writer = Writer()
    for path, _, size, mtime, executable in ROWS:
        writer.add(path, size, mtime, executable=executable)
    assert writer.finish() == written(ROWS)


@pytest.mark.parametrize(
    ("row", "field", "lie"),
    [
        (0, 0, "../a"),
        (0, 0, "/a"),
        (0, 0, "0"),
        (1, 0, "a"),
        (1, 0, "e\u0301"),
        (2, 0, "c/../../d"),
        (2, 0, b"c"),
        (1, 1, 4),
        (1, 1, 6),
        (2, 1, 10),
        (2, 3, 1 << 63),
        (2, 3, "now"),
        (2, 4, 1),
    ],
)
def test_a_lie_in_a_page_is_refused(row: int, field: int, lie: Any) -> None:
    rows = [list(each) for each in ROWS]
    rows[row][field] = lie
    honest = canonical.encode(rows)
    with pytest.raises(PeerFault, match="cannot be read"):
        read(11, written(rows, [["a", 11, len(honest), 0, 11]]))


@pytest.mark.parametrize(
    ("sizes", "why"),
    [((5, 7, 0), "where the one before"), ((5, 6, 1), "do not end"), ((5, -1, 1), "where the one before"), ((1 << 60, 6, 0), "where the")],
)
def test_a_lie_about_a_size_is_refused(sizes: tuple[int, ...], why: str) -> None:
    rows = [[path, offset, size, mtime, executable] for (path, offset, _, mtime, executable), size in zip(ROWS, sizes, strict=True)]
    page = canonical.encode(rows)
    whole = canonical.encode([["a", 11, len(page), 0, 11]])
    with pytest.raises(PeerFault, match=why):
        read(11, page + whole + struct.pack(">8sQQQ", MAGIC, 11 + len(page), len(whole), 3))


def test_a_file_of_less_than_nothing_is_refused() -> None:
    rows = [["a", 0, 12, 7, False], ["b", 12, -1, 7, False]]
    with pytest.raises(PeerFault, match="where the one"):
        read(11, written(rows))


HONEST: list[list[Any]] = [["a", 30, 7, 0, 10], ["b", 37, 8, 10, 10], ["c", 45, 9, 10, 30]]


def directory_of(pages: list[list[Any]], files: int) -> Directory:
    data = canonical.encode(pages)
    return read_directory(data, Footer(54, len(data), files))


@pytest.mark.parametrize(
    ("page", "field", "lie", "why"),
    [
        (0, 0, "../a", "inside a folder"),
        (1, 0, "a", "twice"),
        (2, 0, "B", "out of order"),
        (1, 0, "a/b", "below"),
        (1, 0, "e\u0301", "composed form"),
        (0, 1, 29, "pages do not stand in a row"),
        (1, 1, 38, "pages do not stand in a row"),
        (2, 2, 8, "do not end where it begins"),
        (2, 2, 0, "pages do not stand in a row"),
        (2, 2, -1, "pages do not stand in a row"),
        (0, 3, 1, "files do not stand in a row"),
        (0, 3, -1, "files do not stand in a row"),
        (1, 3, 9, "files do not stand in a row"),
        (0, 4, -1, "files do not stand in a row"),
        (2, 4, 9, "files do not stand in a row"),
        (2, 4, 31, "pages do not stand in a row"),
        (2, 4, True, "another kind"),
        (2, 4, 1 << 60, "pages do not stand in a row"),
    ],
)
def test_a_lie_in_the_directory_is_refused(page: int, field: int, lie: Any, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "PAGE_ENTRIES", 1)
    pages = [list(each) for each in HONEST]
    assert [each.first for each in directory_of(pages, 3).pages] == ["a", "b", "c"]
    pages[page][field] = lie
    with pytest.raises(PeerFault, match=why):
        directory_of(pages, 3)


def test_a_page_larger_than_any_is_refused_before_it_is_fetched() -> None:
    size = trees.MOST_PAGE + 1
    data = canonical.encode([["a", 0, size, 0, 0]])
    with pytest.raises(PeerFault, match="pages do not stand in a row"):
        read_directory(data, Footer(size, len(data), 1))


@pytest.mark.parametrize("directory", [{}, [], [["a"]], [["a", 11, 1, 0, 11]] * 2, "a"])
def test_what_is_no_directory_is_refused(directory: Any) -> None:
    with pytest.raises(PeerFault, match="cannot be read"):
        read(11, written(ROWS, directory))


@pytest.mark.parametrize(("files", "magic"), [(4, MAGIC), (2, MAGIC), (1 << 40, MAGIC), (1025, MAGIC), (3, b"surgetr2")])
def test_a_lie_in_the_footer_is_refused(files: int, magic: bytes) -> None:
    with pytest.raises(PeerFault, match="packed folder"):
        read(11, written(ROWS, files=files, magic=magic))


def test_a_footer_that_points_elsewhere_is_refused_before_anything_is_read() -> None:
    index = written(ROWS)
    size = 11 + len(index)
    for data, whole in ((index[-FOOTER:], size + 1), (index[-FOOTER:], size - 1), (index[-FOOTER + 1 :], size), (b"", 0)):
        with pytest.raises(PeerFault, match="packed folder"):
            read_footer(data, whole)
    for start, length in ((0, size - FOOTER), (size - FOOTER, 0), (1 << 63, 1 << 63)):
        footer = struct.pack(">8sQQQ", MAGIC, start, length, 3)
        with pytest.raises(PeerFault, match="packed folder"):
            read(11, index[:-FOOTER] + footer)


def test_a_directory_larger_than_a_reader_holds_is_refused_before_it_is_fetched() -> None:
    size = trees.MOST_DIRECTORY + 1
    with pytest.raises(PeerFault, match="names no directory"):
        read_footer(struct.pack(">8sQQQ", MAGIC, 0, size, 3), size + FOOTER)


def test_pages_that_overlap_in_their_paths_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "PAGE_ENTRIES", 2)
    start, index = packed([("a", 1), ("b", 1), ("c", 1)])
    assert b"\x61b" in index
    with pytest.raises(PeerFault, match="not those that the directory has"):
        read(start, index.replace(b"\x61b", b"\x61d", 1))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_an_index_or_are_refused(data: bytes) -> None:
    with pytest.raises(PeerFault):
        read(0, data + struct.pack(">8sQQQ", MAGIC, 0, len(data), 1))


def test_an_index_that_is_made_to_take_long_or_much_is_read_quickly_or_refused_early() -> None:
    order, path, began = trees._Order(), "", time.process_time()
    for _ in range(2000):
        path += "a"
        order.follow(path)
    for number in range(5000):
        order.follow(path + chr(0x4E00 + number))
    assert time.process_time() - began < 1, "each path begins with thousands that are files"
    with pytest.raises(InvalidInput, match="is below"):
        order.follow(path + chr(0x4E00 + number) + "/b")
    for rows in ([[]] * 100_000, [[0] * 100_000]):
        with pytest.raises(PeerFault, match="more values"):
            read_directory(canonical.encode(rows), Footer(0, 1, 1))
    with pytest.raises(PeerFault, match="names no directory"):
        read_footer(struct.pack(">8sQQQ", MAGIC, 0, 100, trees.MOST_PAGES * trees.PAGE_ENTRIES + 1), 100 + FOOTER)
