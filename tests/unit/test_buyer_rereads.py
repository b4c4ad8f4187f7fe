"""What a device may have read again of a stored file for a job: few times, unless so much else was brought there that it had to go."""

from __future__ import annotations

from surge.buyer.rereads import ROOM, Rereads


def read(reads: Rereads, file: bytes, said: int, size: int = 100) -> int:
    return reads.read("device", file, said, size=size) if reads.may_read("device", file, least=size, permitted=3 * size) else 0


def test_a_file_is_read_again_a_few_times_and_what_is_said_beyond_that_is_not_paid() -> None:
    reads = Rereads()
    assert [read(reads, b"one", 100) for _ in range(5)] == [100, 100, 100, 0, 0]
    assert [read(reads, b"two", 1000) for _ in range(3)] == [300, 0, 0]
    assert reads.may_read("other", b"two", least=100, permitted=300), "each device has its own count"


def test_two_that_bring_one_file_at_once_are_paid_no_more_together() -> None:
    reads = Rereads()
    assert all(reads.may_read("device", b"one", least=100, permitted=300) for _ in range(2))
    assert [reads.read("device", b"one", 300, size=100) for _ in range(2)] == [300, 0]


def test_files_that_do_not_fit_together_are_read_again_and_again() -> None:
    """As a job over all pairs of many files has it."""
    reads = Rereads()
    sizes = [ROOM // 2] * 3
    paid = [read(reads, bytes([number]), size, size) for _ in range(20) for number, size in enumerate(sizes)]
    assert paid == sizes * 20


def test_a_file_that_is_used_over_and_over_does_not_go_for_what_comes_meanwhile() -> None:
    reads = Rereads()
    read(reads, b"one", 300)
    for number in range(20):
        read(reads, b"other %d" % number, ROOM // 10, ROOM // 10)
        assert read(reads, b"one", 300) == 0
