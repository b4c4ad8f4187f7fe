"""The catalogue of names: names from anywhere, two writers, hostile pages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surge.core import canonical
from surge.core.storage import catalogue
from surge.core.storage.catalogue import Entry, Keys, Reader, Source
from surge.core.storage.header import Header, Kind
from surge.errors import InvalidInput, PeerFault

ADDRESS = "0x" + "11" * 20


def entry(number: int, changed: int = 1, *, gone: bool = False, writer: int = 0) -> Entry:
    key = bytes((number,)) * 32
    keys = None if gone else Keys(key, key, key, key, ADDRESS)
    readers = (Reader(ADDRESS, key, key),) if number % 3 == 1 and keys else ()
    source = Source(ADDRESS, key) if number % 3 == 2 and keys else None
    return Entry(keys, Header(number, Kind.FILE), 5, 0, changed, bytes(7) + bytes((writer,)), readers, source)


ENTRIES = st.builds(entry, st.integers(0, 255), st.integers(1, 9), gone=st.booleans(), writer=st.integers(0, 1))
NAMES = st.dictionaries(st.sampled_from(["a", "b", "c/d", "c/e.txt", "ö"]), ENTRIES, max_size=5)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../up", "a/../b", "a//b", "a/", ".", "a/./b", "a\0b", "a\nb", "\ud800", "x" * 1025])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        catalogue.check_name(name)


@pytest.mark.parametrize("name", ["a", "...", "..a", "日本語/файл.txt", "🦊", "a b", "x" * 1024, "~", "C:\\x", "-rf"])
def test_any_unicode_is_a_name(name: str) -> None:
    assert catalogue.check_name(name) == name


def test_one_name_written_in_two_ways_is_one() -> None:
    assert catalogue.check_name("u\u0308") == catalogue.check_name("\u00fc") == "\u00fc"


@given(NAMES)
def test_pages_come_back_as_they_were(names: dict[str, Entry]) -> None:
    found: dict[str, Entry] = {}
    for page in catalogue.pages_of(names):
        found |= catalogue.decode_page(catalogue.encode_page(names, page), page)
    assert found == names


@given(NAMES, NAMES)
def test_changes_of_one_writer_alone_are_all_there(base: dict[str, Entry], mine: dict[str, Entry]) -> None:
    assert catalogue.merge(base, mine, base) == mine
    assert catalogue.merge(base, base, mine) == mine


@given(NAMES, NAMES, NAMES)
def test_no_object_of_either_writer_is_lost(base: dict[str, Entry], mine: dict[str, Entry], theirs: dict[str, Entry]) -> None:
    merged = catalogue.merge(base, mine, theirs)
    kept = {each.keys.object for each in merged.values() if each.keys}
    for ours, others in ((mine, theirs), (theirs, mine)):
        for name, each in ours.items():
            new = each != base.get(name) and each.keys is not None
            if new and (name not in others or others[name].keys is not None):
                assert each.keys is not None
                assert each.keys.object in kept


def test_of_two_writers_to_one_name_the_later_has_it() -> None:
    base = {"report.csv": entry(1)}
    mine, theirs = {"report.csv": entry(2, 5)}, {"report.csv": entry(3, 6)}
    both = {"report.csv": entry(3, 6), "report (2).csv": entry(2, 5)}
    assert catalogue.merge(base, mine, theirs) == both
    assert catalogue.merge(base, theirs, mine) == both


def test_the_other_object_takes_a_name_that_is_free() -> None:
    base = {"a": entry(1), "a (2)": entry(9)}
    merged = catalogue.merge(base, {"a": entry(2, 5), "a (2)": entry(9)}, {"a": entry(3, 6), "a (2)": entry(9)})
    assert merged == {"a": entry(3, 6), "a (2)": entry(9), "a (3)": entry(2, 5)}


def test_what_one_removed_and_the_other_changed_stays() -> None:
    base = {"a": entry(1)}
    changed, gone = {"a": entry(2, 5)}, {"a": entry(1, 6, gone=True)}
    assert catalogue.merge(base, changed, gone) == changed
    assert catalogue.merge(base, gone, changed) == changed


def test_a_change_is_later_than_what_it_replaces_whatever_the_clocks_say() -> None:
    before = entry(1, changed=1000)
    assert catalogue.changed_at(10, before) == 1001
    assert catalogue.changed_at(5000, before) == 5000
    assert catalogue.removed(before, 10, bytes(8)).order > before.order


def test_removals_are_forgotten_in_the_end() -> None:
    names = {"a": entry(1, gone=True), "b": entry(2)}
    assert catalogue.without_old(names, catalogue.GONE_SECONDS) == names
    assert catalogue.without_old(names, catalogue.GONE_SECONDS + 1) == {"b": entry(2)}


def test_a_page_holds_no_more_than_a_record() -> None:
    names = {f"{number:0200}": entry(1) for number in range(64 * 1300)}
    with pytest.raises(InvalidInput, match="folders"):
        catalogue.encode_page(names, 0)


def row(**changes: object) -> list[object]:
    fields = {
        "name": "a",
        "keys": [bytes(32), bytes(32), bytes(32), bytes(32), ADDRESS],
        "size": 1,
        "kind": "tree",
        "segment_size": 1 << 20,
        "k": 20,
        "n": 30,
        "created": 1,
        "expires": 1,
        "changed": 1,
        "writer": bytes(8),
        "readers": [],
        "source": None,
    }
    return list((fields | changes).values())


PAGE = catalogue.page_of("a")


@pytest.mark.parametrize(
    "value",
    [
        [2, PAGE, []],
        [1, PAGE + 1, []],
        [1, PAGE, [row(), row()]],
        [1, PAGE, [row(name="../a")]],
        [1, PAGE, [row(name="b")]],
        [1, PAGE, [row(size=-1)]],
        [1, PAGE, [row(size=1 << 61)]],
        [1, PAGE, [row(size=True)]],
        [1, PAGE, [row(kind="device")]],
        [1, PAGE, [row(segment_size=3)]],
        [1, PAGE, [row(k=31)]],
        [1, PAGE, [row(n=1 << 59)]],
        [1, PAGE, [row(writer=b"")]],
        [1, PAGE, [row(keys=[bytes(32)] * 4)]],
        [1, PAGE, [row(keys=[bytes(31), *[bytes(32)] * 3, ADDRESS])]],
        [1, PAGE, [row(keys=[*[bytes(32)] * 3, bytes(5), ADDRESS])]],
        [1, PAGE, [row(readers=[[ADDRESS, bytes(32), bytes(32)]] * 257)]],
        [1, PAGE, [row(readers=["nobody"])]],
        [1, PAGE, [row(readers=[["nobody", bytes(32), bytes(32)]])]],
        [1, PAGE, [row(readers=[[ADDRESS, bytes(31), bytes(32)]])]],
        [1, PAGE, [row(source=[ADDRESS])]],
        [1, PAGE, [row(source=[ADDRESS, "label"])]],
        [1, PAGE, ["a"]],
        [1, PAGE],
        7,
    ],
)
def test_a_page_that_lies_is_refused(value: object) -> None:
    assert catalogue.decode_page(canonical.encode([1, PAGE, [row()]]), PAGE)
    with pytest.raises(PeerFault):
        catalogue.decode_page(canonical.encode(value), PAGE)
