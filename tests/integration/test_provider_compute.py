"""The compute service over real workers: what a buyer's own audit says of its answers."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from compute_support import JOB, LIMITS, SALT, Buyer, device
from sandbox_support import HELLO, command, wat
from surge.buyer.auditor import Asked, audit
from surge.core import canonical, values
from surge.core.messages import (
    Answer,
    Prepare,
    Received,
    Refusal,
    RunUnit,
    Setup,
    decode_unit_done,
    encode_body,
)
from surge.core.messages.compute import LimitsField
from surge.core.receipts import ReceiptKind
from surge.core.units import Limits, Status, split_output, unit_id
from surge.provider import waste
from surge.provider.compute import INLINE_OUTPUT
from surge.sandbox.snapshots import snapshot_key

ECHO = """
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 17)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 65536))
    (loop $again
      (i32.store (i32.const 4) (i32.const 1048576))
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (i32.store (i32.const 4) (i32.load (i32.const 8)))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
      (br_if $again (i32.load (i32.const 8))))))
"""


async def test_a_strangers_module_is_moved_compiled_run_and_priced(tmp_path: Path) -> None:
    module = wat(HELLO)
    image = hashlib.sha256(module).digest()
    async with device(tmp_path) as buyer:
        assert await buyer.prepare(image, {image: module}) > 0
        assert await buyer.prepare(image, {image: module}) == 0, "it is here now"
        entry = canonical.encode([["prog"], [], 0])
        outcome, output = await buyer.run(image, entry, b"")
        assert (outcome.status, outcome.exit_code) == (Status.FINISHED, 0)
        assert split_output(outcome, output).stdout == b"hello\n"


async def test_an_endless_loop_is_billed_its_fuel(tmp_path: Path) -> None:
    module = command("(loop $l (br $l))")
    image = hashlib.sha256(module).digest()
    limits = Limits(memory=1 << 20, fuel=10**6, wall_ms=20_000, output=0)
    async with device(tmp_path) as buyer:
        await buyer.prepare(image, {image: module})
        outcome, _ = await buyer.run(image, canonical.encode([["prog"], [], 0]), b"", limits=limits)
        assert (outcome.status, outcome.fuel) == (Status.OUT_OF_FUEL, 10**6)


async def test_calls_that_name_thousands_of_contents_keep_nobody_waiting(tmp_path: Path) -> None:
    """Each takes milliseconds, and many come at once: what is short of anybody else's is answered in between."""
    contents = [(hashlib.sha256(b"%d" % number).digest(), 1) for number in range(4096)]
    body = encode_body(Prepare(JOB, bytes(32), 1, b"", 0, contents))
    async with device(tmp_path) as greedy:
        other = Buyer(greedy.bench, 51)
        await other.open()
        numbers = [await greedy.call(body, "prepare", "compute") for _ in range(32)]
        answer = await other.ask(encode_body(Prepare(JOB, greedy.sandbox.python_image, 0, b"", 0, contents[:1])), "prepare", "compute")
        assert isinstance(answer, Answer)
        answered = {each.id for each in greedy.messages if isinstance(each, Answer)}
        assert len(answered & set(numbers)) < 16, "it did not wait for all of them"
        for number in numbers:
            assert isinstance(await greedy.answer(number), Answer)


async def test_units_that_end_in_vain_are_run_for_some_seconds_an_hour_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endless loop under a wall limit that comes before its fuel ends locally: without a bound it would be free for ever."""
    monkeypatch.setattr(waste, "GRANTED", 0.5)
    module = command("(loop $l (br $l))")
    image = hashlib.sha256(module).digest()

    def unit(number: int, **limits: int) -> bytes:
        asked = Limits(memory=1 << 20, output=0, **limits)
        entry = canonical.encode([["prog"], [], number])
        return encode_body(RunUnit(JOB, image, b"", b"", entry, b"", b"", LimitsField.of(asked), SALT))

    async with device(tmp_path) as buyer:
        await buyer.prepare(image, {image: module})
        for number in range(2):
            refusal = await buyer.ask(unit(number, fuel=10**15, wall_ms=300), "run", "compute")
            assert isinstance(refusal, Refusal)
            assert refusal.code == "local"
            assert refusal.text == "it took longer than it may", "where in the module it was helps nobody"
        for number in range(2, 4):
            refusal = await buyer.ask(unit(number, fuel=10**15, wall_ms=300), "run", "compute")
            assert isinstance(refusal, Refusal)
            assert (refusal.code, "in vain" in refusal.text) == ("busy", True), refusal
        # The hour is over.
        assert buyer.bench.services is not None
        buyer.bench.services[0].waste = waste.Waste()
        answer = await buyer.ask(unit(9, fuel=10**6, wall_ms=20_000), "run", "compute")
        assert isinstance(answer, Answer)


async def test_a_corrupt_module_is_refused_once_compiled_and_at_once_afterwards(tmp_path: Path) -> None:
    module = b"\0asm\x01\0\0\0 and nonsense"
    image = hashlib.sha256(module).digest()
    async with device(tmp_path) as buyer:
        body = encode_body(Prepare(JOB, image, len(module), b"", 0, []))
        await buyer.ask(body, "prepare", "compute")
        received = await buyer.upload(module)
        assert isinstance(received, Received)
        for _ in range(2):
            refusal = await buyer.ask(body, "prepare", "compute")
            assert isinstance(refusal, Refusal)
            assert refusal.code == "guest"


async def test_large_input_and_output_travel_through_files(tmp_path: Path) -> None:
    module = wat(ECHO)
    image = hashlib.sha256(module).digest()
    data = bytes(range(256)) * (INLINE_OUTPUT // 64)
    content = hashlib.sha256(data).digest()
    async with device(tmp_path) as buyer:
        await buyer.prepare(image, {image: module, content: data})
        outcome, output = await buyer.run(image, canonical.encode([["echo"], [], 0]), data, content=content)
        assert outcome.status is Status.FINISHED
        assert split_output(outcome, output).stdout == data
        left = [path for path in (tmp_path / "provider" / "spool").iterdir()]
        assert not left, "acknowledged outputs are gone"


@pytest.mark.parametrize("broken", ["memory", "setup", "limits", "entry"])
async def test_units_that_cannot_be_are_refused_before_anything_runs(tmp_path: Path, broken: str) -> None:
    module = wat(HELLO)
    image = hashlib.sha256(module).digest()
    async with device(tmp_path) as buyer:
        await buyer.prepare(image, {image: module})
        limits = LimitsField.of(Limits(memory=2 << 30) if broken == "memory" else LIMITS)
        if broken == "limits":
            limits = LimitsField(1, 0, 0, 0, 0)
        setup = b"\x80" if broken == "setup" else b""
        entry = b"\x01" if broken == "entry" else canonical.encode([["prog"], [], 0])
        body = RunUnit(JOB, image, b"", setup, entry, b"", b"", limits, SALT)
        refusal = await buyer.ask(encode_body(body), "run", "compute")
        assert isinstance(refusal, Refusal)
        assert refusal.code == "invalid"
        outcome, _ = await buyer.run(image, canonical.encode([["prog"], [], 0]), b"")
        assert outcome.status is Status.FINISHED, "the window is free again"


def bundle(source: str) -> bytes:
    """A bundle with one module, `task`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("task.py", (1980, 1, 1, 0, 0, 0)), source)
    return file.getvalue()


async def test_a_python_job_is_set_up_once_and_runs_from_its_snapshot(tmp_path: Path, python_cache: Path) -> None:
    zipped = bundle("import random\n\ndef double(x):\n    return 2 * x\n\ndef fails(x):\n    raise ValueError(x)\n")
    zip_id = hashlib.sha256(zipped).digest()
    setup = canonical.encode({"module": "task", "packages": []})
    limits = Limits(memory=512 << 20, fuel=10**11, wall_ms=60_000)
    async with device(tmp_path, python_cache) as buyer:
        image = buyer.sandbox.python_image
        assert buyer.bench.relays.published[-1].images == (image,)
        await buyer.prepare(image, {zip_id: zipped}, zip_id)
        entry = canonical.encode(["double", 0, 0, bytes(32)])
        unit = RunUnit(JOB, image, zip_id, setup, entry, values.dumps([1, 2]), b"", LimitsField.of(limits), SALT)
        early = await buyer.ask(encode_body(unit), "run", "compute")
        assert isinstance(early, Refusal)
        assert early.code == "missing", "a setup is nobody's gift"
        body = encode_body(Setup(JOB, image, zip_id, setup, LimitsField.of(limits), SALT))
        answer = await buyer.ask(body, "setup", "compute")
        assert isinstance(answer, Answer), answer
        assert answer.receipt is not None
        done = decode_unit_done(answer.body)
        subject = unit_id(buyer.spec(image, b"", b"", zip_id, setup, limits))
        audit(Asked(ReceiptKind.SETUP, subject, limits, buyer.terms_agreed.prices, 0), done.outcome(), answer.receipt, buyer.party)
        assert len(done.state) == 32
        await buyer.acknowledge(answer.receipt)
        again = await buyer.ask(body, "setup", "compute")
        assert isinstance(again, Answer)
        assert again.receipt is None
        items = values.dumps([1, 2, "x"])
        outcome, output = await buyer.run(image, entry, items, bundle=zip_id, setup=setup, limits=limits)
        assert outcome.status is Status.FINISHED
        assert values.loads(split_output(outcome, output).value) == [["ok", 2], ["ok", 4], ["ok", "xx"]]


async def test_a_buyer_whose_window_is_full_gets_the_setup_and_what_was_done_again(tmp_path: Path, python_cache: Path) -> None:
    """It comes back with receipts unanswered, and can answer them only once it has heard what they are for."""
    zipped = bundle("def double(x):\n    return 2 * x\n")
    zip_id = hashlib.sha256(zipped).digest()
    setup = canonical.encode({"module": "task", "packages": []})
    limits = Limits(memory=512 << 20, fuel=10**11, wall_ms=60_000)
    async with device(tmp_path, python_cache) as buyer:
        image, python = buyer.sandbox.python_image, buyer.sandbox.python
        await buyer.prepare(image, {zip_id: zipped}, zip_id)
        body = encode_body(Setup(JOB, image, zip_id, setup, LimitsField.of(limits), SALT))
        first = await buyer.ask(body, "setup", "compute")
        assert isinstance(first, Answer)
        assert first.receipt is not None
        window = (await buyer.acknowledge(first.receipt)).window

        async def unit(number: int) -> Any:
            entry = canonical.encode(["double", number, 0, bytes(32)])
            run = RunUnit(JOB, image, zip_id, setup, entry, values.dumps([1]), b"", LimitsField.of(limits), SALT)
            return await buyer.ask(encode_body(run), "run", "compute")

        done = [await unit(number) for number in range(window)]
        assert (await unit(window)).code == "window"
        again = await buyer.ask(body, "setup", "compute")
        assert isinstance(again, Answer), again
        assert again.receipt is None
        buyer.sandbox._snapshots.drop(snapshot_key(buyer.sandbox.engine, image, zip_id, setup))
        assert python.snapshot(zip_id, setup) is None
        assert [(await unit(number)).receipt for number in range(window)] == [answer.receipt for answer in done]


async def test_a_setup_that_prints_is_run_again_for_nothing_only_for_so_long(
    tmp_path: Path, python_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it printed is not kept, so it runs again to say it again; billed it is once."""
    monkeypatch.setattr(waste, "GRANTED", 0.0)
    zipped = bundle("print('hello')\n\ndef double(x):\n    return 2 * x\n")
    zip_id = hashlib.sha256(zipped).digest()
    setup = canonical.encode({"module": "task", "packages": []})
    limits = Limits(memory=512 << 20, fuel=10**11, wall_ms=60_000)
    async with device(tmp_path, python_cache) as buyer:
        image = buyer.sandbox.python_image
        await buyer.prepare(image, {zip_id: zipped}, zip_id)
        body = encode_body(Setup(JOB, image, zip_id, setup, LimitsField.of(limits), SALT))
        receipts = []
        for _ in range(2):
            answer = await buyer.ask(body, "setup", "compute")
            assert isinstance(answer, Answer), answer
            receipts.append(answer.receipt)
            if answer.receipt is not None:
                await buyer.acknowledge(answer.receipt)
        assert [receipt is None for receipt in receipts] == [False, True]
        refusal = await buyer.ask(body, "setup", "compute")
        assert isinstance(refusal, Refusal)
        assert (refusal.code, "in vain" in refusal.text) == ("busy", True)
