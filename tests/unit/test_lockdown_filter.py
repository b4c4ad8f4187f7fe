"""The lockdown's tables and its filter, judged without putting any of it on: a small BPF machine runs the program."""

from __future__ import annotations

import errno
import os
import platform
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from surge.sandbox import _landlock, _linux, _seccomp

HEADERS = (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm-generic/unistd.h"))
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

ALLOW = "allow"
KILL = "kill"


def judge(program: Sequence[tuple[int, int, int, int]], arch: int, number: int, *arguments: int) -> str | int:
    """What a filter says to a call: allow, kill, or the error it answers."""
    padded = [argument % 2**64 for argument in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("<IIQ6Q", number, arch, 0, *padded)
    at = accumulator = 0
    for _ in range(4096):
        code, when_true, when_false, value = program[at]
        at += 1
        match code:
            case 0x20:
                accumulator = struct.unpack_from("<I", data, value)[0]
            case 0x54:
                accumulator &= value
            case 0x15:
                at += when_true if accumulator == value else when_false
            case 0x35:
                at += when_true if accumulator >= value else when_false
            case 0x06:
                return {0x7FFF0000: ALLOW, 0x80000000: KILL}.get(value, value & 0xFFFF)
            case _:
                raise AssertionError(f"instruction {code:#x}")
    raise AssertionError("the program does not end")


class Filter:
    """A program for one machine."""

    def __init__(self, machine: str, *, new_code: bool) -> None:
        self.machine = machine
        self._program = _seccomp.program(new_code=new_code)

    def __call__(self, name: str, *arguments: int) -> str | int:
        number = _linux.NUMBERS[name][_linux.ARCHITECTURES[self.machine]]
        assert number is not None
        return self.raw(number, *arguments)

    def raw(self, number: int, *arguments: int, arch: int | None = None) -> str | int:
        return judge(self._program, arch or ARCHITECTURES[self.machine], number, *arguments)


@pytest.fixture(params=sorted(ARCHITECTURES))
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(platform, "machine", lambda: request.param)
    return request.param


@pytest.mark.parametrize("column", [0, 1])
def test_numbers_are_the_kernels_own(column: int) -> None:
    if not HEADERS[column].exists():
        pytest.skip("the kernel's headers are not installed")
    text = HEADERS[column].read_text().replace("__NR3264_fstatat", "__NR_newfstatat").replace("__NR3264_", "__NR_")
    defined = {name: int(number) for name, number in re.findall(r"#define __NR_(\w+)\s+(\d+)\b", text)}
    for name, numbers in _linux.NUMBERS.items():
        assert numbers[column] == defined.get(name), name


def test_other_architectures_and_x32_end_the_process(machine: str) -> None:
    judged = Filter(machine, new_code=True)
    for arch in (0x40000003, 0x40000028, 0xC00000F3, *(set(ARCHITECTURES.values()) - {ARCHITECTURES[machine]})):
        assert judged.raw(63, arch=arch) == KILL
    assert judged.raw(0x40000000) == KILL
    assert judged.raw(0x40000000 + 257) == KILL
    assert judged.raw(0xFFFFFFFF) == KILL


def test_whatever_is_not_listed_is_denied(machine: str) -> None:
    judged = Filter(machine, new_code=True)
    column = _linux.ARCHITECTURES[machine]
    named = {numbers[column] for numbers in _linux.NUMBERS.values()}
    for number in set(range(600)) - named:
        assert judged.raw(number) == errno.EPERM, number
    for name in _seccomp.KILLED:
        if _linux.NUMBERS[name][column] is not None:
            assert judged(name) == KILL, name
    for name in _seccomp.ALLOWED:
        if _linux.NUMBERS[name][column] is not None:
            assert judged(name, *[2**64 - 1] * 6) == ALLOW, name
    for name in ("capset", "landlock_create_ruleset", "landlock_restrict_self"):
        assert judged(name) == errno.EPERM


def test_threads_may_start_and_processes_may_not(machine: str) -> None:
    judged = Filter(machine, new_code=True)
    glibc = 0x3D0F00
    assert judged("clone", glibc) == ALLOW
    assert judged("clone", glibc | 0x400000) == ALLOW  # musl
    assert judged("clone", 17) == errno.EPERM  # fork
    assert judged("clone", 0x4111) == errno.EPERM  # vfork
    for namespace in (0x10000000, 0x20000000, 0x40000000, 0x02000000, 0x04000000, 0x08000000, 0x00020000, 1 << 32):
        assert judged("clone", glibc | namespace) == errno.EPERM
    assert judged("clone", glibc & ~0x10000) == errno.EPERM  # CLONE_THREAD
    assert judged("clone3", 0) == errno.ENOSYS


def test_arguments_that_reach_outside_are_denied(machine: str) -> None:
    judged = Filter(machine, new_code=True)
    assert judged("tgkill", os.getpid(), 5, 6) == ALLOW
    assert judged("tgkill", os.getppid(), os.getppid(), 9) == errno.EPERM
    assert judged("tgkill", -1, 5, 9) == errno.EPERM
    assert judged("sendto", 3, 0x7000, 10, 0, 0, 0) == ALLOW
    assert judged("sendto", 3, 0x7000, 10, 0, 0x7000, 16) == errno.EPERM
    assert judged("sendto", 3, 0x7000, 10, 0, 1 << 32, 16) == errno.EPERM
    assert judged("prlimit64", 0, 7, 0, 0x7000) == ALLOW
    assert judged("prlimit64", 1, 7, 0, 0x7000) == errno.EPERM
    assert judged("prlimit64", 0, 7, 0x7000, 0) == errno.EPERM
    for command in (0, 1, 2, 3, 1030):
        assert judged("fcntl", 3, command) == ALLOW
    for command in (4, 5, 8, 10, 15, 1024, 1025, 1033):
        assert judged("fcntl", 3, command) == errno.EPERM


def test_memory_becomes_executable_only_for_a_compiler(machine: str) -> None:
    compiler, guest = Filter(machine, new_code=True), Filter(machine, new_code=False)
    for name in ("mmap", "mprotect"):
        for protection in range(4):
            assert guest(name, 0, 4096, protection) == ALLOW
        for protection in range(4, 8):
            assert guest(name, 0, 4096, protection) == errno.EPERM
            assert compiler(name, 0, 4096, protection) == ALLOW


@pytest.mark.parametrize(
    ("library", "by_name"), [("glibc 2.31", False), ("glibc 2.33", True), ("glibc 2.38", True), ("glibc 2.39", False), (None, False)]
)
def test_a_name_may_be_looked_up_only_where_fstat_is_that_call(
    machine: str, monkeypatch: pytest.MonkeyPatch, library: str | None, by_name: bool
) -> None:
    monkeypatch.setattr(os, "confstr", lambda _: library)
    judged = Filter(machine, new_code=True)
    assert judged("newfstatat", 3, 0x7000, 0x7000, 0x1000) == (ALLOW if by_name else errno.EPERM)
    assert judged("newfstatat", 3, 0x7000, 0x7000, 0) == errno.EPERM
    assert judged("newfstatat", 3, 0x7000, 0x7000, 0x1100) == errno.EPERM


def test_a_machine_without_numbers_gets_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(OSError, match="riscv64"):
        _seccomp.program(new_code=True)
    with pytest.raises(OSError, match="seccomp") as raised:
        _linux.call("seccomp", 0, 0, 0)
    assert raised.value.errno == errno.ENOSYS


@pytest.mark.parametrize(("version", "words"), [(1, ["TCP", "signals"]), (4, ["signals"]), (6, []), (7, [])])
def test_what_an_old_landlock_cannot_deny_is_said(version: int, words: list[str]) -> None:
    said = _landlock.lacking(version)
    assert [word for word in ("TCP", "signals") if word in said] == words
    assert bool(said) == bool(words)


@pytest.mark.parametrize(("code", "words"), [(errno.EOPNOTSUPP, "lsm="), (errno.ENOSYS, "5.13")])
def test_a_kernel_without_landlock_is_told_from_one_that_switched_it_off(monkeypatch: pytest.MonkeyPatch, code: int, words: str) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, "no")

    monkeypatch.setattr(_linux, "call", refuse)
    with pytest.raises(OSError, match=words):
        _landlock.version()
