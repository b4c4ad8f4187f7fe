"""What the command line reads and writes: amounts, sizes, fuel, results as JSON, files."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import time
from pathlib import Path

import click
import pytest

from surge import errors
from surge.cli import console, tables
from surge.cli.console import Amount, Fuel, Size, parse_tokens, run_command, tokens
from surge.cli.lines import as_json_value, read_items
from surge.cli.outputs import output_file
from surge.errors import InvalidInput


def test_amounts_are_exact() -> None:
    assert parse_tokens("1.5") == 15 * 10**17
    assert parse_tokens("0.000000000000000001") == 1
    assert parse_tokens("123456789.123456789123456789") == 123456789123456789123456789
    assert parse_tokens("1500wei") == 1500
    for wrong in ("", "much", "-1", "1e999999", "nan", "0.0000000000000000001", "1.5wei", "inf"):
        with pytest.raises((InvalidInput, click.BadParameter)):
            Amount().convert(wrong, None, None)
    assert tokens(15 * 10**17) == "1.5 SURGE"
    assert tokens(1) == "0.000000000000000001 SURGE"
    assert tokens(-(10**18)) == "-1 SURGE"


def test_amounts_of_a_column_have_one_form(capsys: pytest.CaptureFixture[str]) -> None:
    def column(*amounts: int) -> list[str]:
        tables.show([{"pay": amount} for amount in amounts], ["pay"], as_json=False, money=["pay"])
        title, *lines = capsys.readouterr().out.splitlines()
        assert title.strip() == "pay SURGE"
        return [line.strip() for line in lines]

    assert column(15 * 10**17, 2 * 10**18, 0) == ["1.5", "2.0", "0.0"]
    assert column(10**23, 10**18) == ["100,000", "1"]
    assert column(611630936379, 10**16) == ["0.000000611", "0.010000000"]
    assert column(1, -(10**18)) == ["0.000000000000000001", "-1.000000000000000000"]


def test_a_narrow_terminal_folds_no_id_and_no_amount(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(tables, "out", console.SafeConsole(file=screen, width=80, highlight=False))
    job = {"job": "0123456789ab", "name": "a/long/path/to/some.py:function", "state": "cancelled", "done": 10_000, "failed": 0}
    job |= {"total": 10_000, "price": 12_345678 * 10**12, "created": console.brief_time(0)}
    tables.show([job], list(job), as_json=False, money=["price"])
    channel = {"channel": "0123456789ab", "device": "0x01234567", "deposit": 12_512_345 * 10**12, "vouched": 123_457 * 10**12}
    channel |= {"floor": 10**16, "redeemed": 123_456 * 10**12, "receipts": 12_345, "state": "closing"}
    tables.show([channel], list(channel), as_json=False, money=["deposit", "vouched", "floor", "redeemed"])
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    (row,) = (line for line in lines if "12.345678" in line)
    assert {"0123456789ab", "cancelled", "10,000"} <= set(row.split())
    (row,) = (line for line in lines if "12.512345" in line)
    assert row.split() == ["0123456789ab", "0x01234567", "12.512345", "0.123457", "0.01", "0.123456", "12,345", "closing"]
    assert "…" not in screen.getvalue()


@pytest.mark.parametrize("width", [20, 120])
def test_what_is_in_a_row_stays_in_its_row(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(tables, "out", console.SafeConsole(file=screen, width=width, highlight=False))
    tables.show([{"name": "two\nlines", "of": "0x" + "ab" * 20}], ["name", "of"], as_json=False)
    assert "two\\nlines" in screen.getvalue()
    assert len(screen.getvalue().splitlines()) == 2


def test_where_addresses_leave_no_room_each_row_has_lines_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    whose, operator = "0x" + "ab" * 20, "0x" + "cd" * 20
    rows = [{"kind": "device", "address": whose, "operator": operator, "url": "", "stake": 15 * 10**17, "metadata": "much [bold] " * 9}]
    rows.append({"kind": "relay", "address": operator, "operator": operator, "url": "nats://127.0.0.1:4222", "stake": 0, "metadata": "{}"})
    shown = {}
    for width in (80, 200):
        screen = io.StringIO()
        monkeypatch.setattr(tables, "out", console.SafeConsole(file=screen, width=width, highlight=False))
        tables.show(rows, list(rows[0]), as_json=False, title="Whom it names", money=["stake"])
        shown[width] = [line.split() for line in screen.getvalue().splitlines()]
    device = [["kind", "device"], ["address", whose], ["operator", operator], ["stake", "SURGE", "1.5"]]
    relay = [["kind", "relay"], ["address", operator], ["operator", operator], ["url", "nats://127.0.0.1:4222"], ["stake", "SURGE", "0.0"]]
    metadata = ["metadata", *["much", "[bold]"] * 9]
    assert shown[80] == [["Whom", "it", "names"], *device, metadata, [], *relay, ["metadata", "{}"]]
    assert shown[200][1] == ["kind", "address", "operator", "url", "stake", "SURGE", "metadata"]


def test_a_long_listing_says_what_a_table_says_and_takes_no_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"name": f"Möbel/{number} [bold]", "size": number, "shared": "\x1b[31mno"} for number in range(5000)]
    took, shown = [], []
    for long in (tables.LONG, len(rows)):
        screen, began = io.StringIO(), time.process_time()
        monkeypatch.setattr(tables, "out", console.SafeConsole(file=screen, width=200, highlight=False))
        monkeypatch.setattr(tables, "LONG", long)
        tables.show(rows, list(rows[0]), as_json=False)
        took.append(time.process_time() - began)
        shown.append([line.split() for line in screen.getvalue().splitlines()])
        assert "\x1b" not in screen.getvalue()
    assert shown[0] == shown[1]
    assert took[0] * 4 < took[1]


def test_errors_are_said_in_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    def fails() -> None:
        raise errors.NotEnough("it holds 1500000000000000000 wei of SURGE, not 2000000000000000000 wei; 12 gwei")

    assert run_command(fails, []) == 6
    assert capsys.readouterr().err == "error: it holds 1.5 SURGE, not 2 SURGE; 12 gwei\n"


@pytest.mark.parametrize(("text", "size"), [("512M", 512 << 20), ("4G", 4 << 30), ("4GiB", 4 << 30), ("1.5k", 1536), ("1048576", 1 << 20)])
def test_sizes(text: str, size: int) -> None:
    assert Size().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "lots", "-1G", "-5", "nanG", "infG", "1e999G"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Size().convert(text, None, None)


@pytest.mark.parametrize(("text", "fuel"), [("20G", 20 * 10**9), ("1.5M", 1_500_000), ("2k", 2000), ("1T", 10**12), ("77", 77)])
def test_fuel(text: str, fuel: int) -> None:
    assert Fuel().convert(text, None, None) == fuel


@pytest.mark.parametrize("text", ["", "lots", "-1G", "0", "nanG", "1e99G"])
def test_fuel_that_is_none(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Fuel().convert(text, None, None)


@pytest.mark.parametrize("value", [[10**5000], [-(10**5000)], {10**5000: 1}, {(1, 10**5000): 1}])
def test_a_result_with_more_digits_than_python_writes_is_written_as_hex(value: object) -> None:
    assert re.search(r"0x[0-9a-f]{4000}", json.dumps(as_json_value(value)))


def test_results_are_written_as_json() -> None:
    assert as_json_value({(1, 2): [True, -(2**70), 1.5, None, {b"\x01"}]}) == {"(1, 2)": [True, -(2**70), 1.5, None, ["0x01"]]}


def test_a_file_is_replaced_when_it_is_whole_and_left_as_it_was_otherwise(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    with output_file(str(target)) as file:
        file.write("first")
    target.chmod(0o640)
    with contextlib.suppress(KeyboardInterrupt), output_file(str(target)) as file:
        file.write("half")
        raise KeyboardInterrupt
    assert target.read_text() == "first"
    with output_file(str(target)) as file:
        file.write("second")
    assert target.read_text() == "second"
    assert target.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_and_a_device_stay_what_they_are(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    link.symlink_to(real)
    with output_file(str(link)) as file:
        file.write("new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with output_file(str(tmp_path / "pipe")) as file:
        file.write("through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("target", [".", "missing/out.jsonl", "file/out.jsonl"])
def test_a_file_that_cannot_be_written_is_said_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot be written"), output_file(target):
        pytest.fail("it was entered")


def test_a_full_disk_is_said_with_the_files_name() -> None:
    with pytest.raises(InvalidInput, match="/dev/full cannot be written"), output_file("/dev/full") as file:
        file.write("x")


@pytest.mark.parametrize(
    ("data", "part"), [(b"1\n{\n", "line 2"), (b"\xff\n", "line 1"), (b"[" * 100_000, "line 1"), (None, "cannot be read")]
)
def test_inputs_that_cannot_be_read_are_named(tmp_path: Path, data: bytes | None, part: str) -> None:
    path = tmp_path / "in.jsonl"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InvalidInput, match=part):
        list(read_items(str(path)))


def test_connections_that_an_interrupt_left_open_are_not_logged() -> None:
    def said(text: str) -> bool:
        return console.left_open(logging.LogRecord("asyncio", logging.ERROR, "", 0, text, None, None))

    assert not said("Unclosed client session\nclient_session: <aiohttp.client.ClientSession object>")
    assert said("Task exception was never retrieved")
