"""Names of stored files: what travels of them, what a unit's entry lists, and what is refused of both."""

from __future__ import annotations

import copy
import pickle

import pytest

from surge.buyer.plan import MAP, Plan
from surge.buyer.work import unit_input
from surge.core import canonical, values
from surge.core.messages.stored import Fetch, Opening, SegmentField, ShardField
from surge.core.storage.stored import MOST_PARTS, StoredName, StoredPart, parts_in, parts_of
from surge.core.types import Address
from surge.core.units import Limits
from surge.core.values.wire import STORED, VERSION, head
from surge.errors import InvalidInput
from surge.storage.openings import least_read

OBJECT = bytes(range(32))
PART = StoredPart(OBJECT, 1000, 100, 50, "folder/ä b.txt")


def name(part: StoredPart = PART) -> StoredName:
    return StoredName(part.name, lambda _: part)


def raw(*fields: object) -> bytes:
    """The bytes of a value under the tag of stored files, whoever made it up."""
    out = bytearray((VERSION,))
    head(out, 6, STORED)
    return bytes(out) + values.dumps(list(fields))[1:]


def entry(*parts: object) -> bytes:
    return canonical.encode(["f", 0, 0, bytes(32), list(parts)])


def test_a_name_is_text_here_and_a_path_there() -> None:
    assert name() == "folder/ä b.txt"
    assert values.loads(values.dumps(name())) == PART.path == "/job/.stored/0001020304050607.100.50/folder/ä b.txt"
    assert values.loads(values.dumps({"a": [(name(), 1)], name(): {name()}})) == {"a": [(PART.path, 1)], PART.path: {PART.path}}
    assert values.loads(values.dumps(str(name()))) == "folder/ä b.txt"


def test_what_a_name_knows_is_not_copied_with_it() -> None:
    for copied in (copy.copy(name()), copy.deepcopy(name()), pickle.loads(pickle.dumps(name()))):
        assert (type(copied), copied) == (str, "folder/ä b.txt")


def test_a_name_that_is_gone_does_not_travel() -> None:
    def gone(name: str) -> StoredPart:
        raise InvalidInput(f"{name} is gone")

    with pytest.raises(InvalidInput, match=r"a\.txt is gone"):
        values.dumps([1, StoredName("a.txt", gone)])


@pytest.mark.parametrize(
    "fields",
    [
        (OBJECT[1:], 1000, 0, 1000, "a"),
        (OBJECT, 1000, 0, 1001, "a"),
        (OBJECT, 1000, 999, 2, "a"),
        (OBJECT, 1000, -1, 2, "a"),
        (OBJECT, 1000, 5, -1, "a"),
        (OBJECT, (1 << 48) + 1, 0, 1, "a"),
        (OBJECT, 10, True, 1, "a"),
        (OBJECT, 10, 0, 1, ""),
        (OBJECT, 10, 0, 1, "../a"),
        (OBJECT, 10, 0, 1, "a/../../../etc/passwd"),
        (OBJECT, 10, 0, 1, "/etc/passwd"),
        (OBJECT, 10, 0, 1, "a//b"),
        (OBJECT, 10, 0, 1, "a/."),
        (OBJECT, 10, 0, 1, "a\0b"),
        (OBJECT, 10, 0, 1, "a" * 256),
        (OBJECT, 10, 0, 1, "/".join(["a" * 250] * 5)),
        (OBJECT, 10, 0, 1, b"a"),
        (OBJECT, 10, 0, 1),
        (OBJECT, 10, 0, 1, "a", "b"),
    ],
)
def test_what_is_no_part_of_an_object_is_refused_wherever_it_stands(fields: tuple[object, ...]) -> None:
    with pytest.raises(values.ValueRefused):
        values.loads(raw(*fields))
    with pytest.raises(InvalidInput):
        StoredPart.of(list(fields))
    with pytest.raises(InvalidInput):
        parts_of(entry(list(fields)))


def test_the_parts_in_items_are_found_once_each_in_one_order() -> None:
    other = StoredPart(bytes(32), 10, 0, 10, "z")
    items = [
        values.dumps([name(), {"x": name(other)}]),
        values.dumps(7),
        values.dumps((name(),)),
        values.dumps(b"\xd9\x9c\x4e\x85\x58\x20"),
    ]
    assert parts_in(items) == parts_in(reversed(items)) == (other, PART)
    assert parts_in([values.dumps("\u9c4e"), values.dumps([])]) == ()


def test_an_entry_lists_what_a_unit_reads_and_its_id_depends_on_it() -> None:
    plan = Plan(MAP, "f", bytes(32), bytes(32), 0, None, 0, b"", "f", 0, bytes(32), Limits(), 0)
    said, _ = unit_input(plan, 3, [values.dumps(name())])
    assert parts_of(said) == (PART,)
    plain, _ = unit_input(plan, 3, [values.dumps("folder/a.txt")])
    assert (parts_of(plain), plain) == ((), plan.entry(3))
    assert said != plain


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [PART.fields(), PART.fields()],
        [PART.fields(), [OBJECT, 2000, 100, 50, PART.name]],
        [PART.fields(), [OBJECT, 1000, 100, 50, "folder/ä b.txt/c"]],
        [[OBJECT, 10, 0, 1, "a"], [OBJECT, 10, 0, 1, "a-b"], [OBJECT, 10, 0, 1, "a/b"]],
        [[OBJECT, 100, at, 1, "a"] for at in range(MOST_PARTS + 1)],
    ],
)
def test_an_entry_lists_no_two_files_in_one_place_and_not_too_many(parts: list[object]) -> None:
    with pytest.raises(InvalidInput):
        parts_of(entry(*parts))
    assert len(parts_of(entry(*([OBJECT, 100, at, 1, "a"] for at in range(MOST_PARTS))))) == MOST_PARTS


def test_what_a_device_reads_of_others_at_least_leaves_out_its_own_shard_only() -> None:
    mib, device, other = 1 << 20, Address("0x" + "11" * 20), Address("0x" + "22" * 20)

    def fetch(offset: int, length: int, holder: Address) -> Fetch:
        segments = [SegmentField(number, [ShardField(0, holder, bytes(32), bytes(32))]) for number in range(4)]
        opening = Opening(bytes(32), bytes(32), mib, 2, 4, segments)
        return Fetch(bytes(32), bytes(32), 4 * mib, offset, length, "a", opening, [])

    assert least_read(fetch(0, 4 * mib, other), device) == 4 * mib
    assert least_read(fetch(mib - 10, 20, other), device) == 20
    assert least_read(fetch(0, 0, device), device) == 0
    assert least_read(fetch(100, 70_000, device), device) == 0, "it may have all of that"
    assert least_read(fetch(0, 4 * mib, device), device) == 4 * (mib - 10 * 65536), "half of it, but for the stripes at both ends"
