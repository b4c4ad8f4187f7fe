"""The engine: what decides its identity, and that its settings hold."""

from __future__ import annotations

import struct
from importlib import metadata

import pytest
import wasmtime

from surge.core.units import EMPTY, Limits, Part, Status
from surge.errors import InternalFault
from surge.sandbox import engine
from surge.sandbox.claims import false_claim
from surge.sandbox.protocol import Done


def test_the_identity_is_the_release_the_settings_and_the_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    first = engine.identity()
    assert len(first) == 32
    assert engine.label() == f"wasmtime-49.0.0 {engine.instruction_set()} {first.hex()[:8]}"
    with monkeypatch.context() as patched:
        patched.setitem(engine.SETTINGS, "cranelift_nan_canonicalization", False)
        assert engine.identity() != first
    with monkeypatch.context() as patched:
        patched.setattr(engine, "instruction_set", lambda: "other")
        assert engine.identity() != first
    assert engine.identity() == first


def test_another_release_is_not_taken_for_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert metadata.version("wasmtime") == engine.WASMTIME
    engine.check_installed()
    monkeypatch.setattr(engine, "WASMTIME", "0.0.0")
    with pytest.raises(InternalFault, match="results are defined by"):
        engine.check_installed()


def test_a_nan_is_the_same_nan_wherever_it_comes_from() -> None:
    made = engine.make_engine()
    text = """
    (module (func (export "f") (param f64 f64) (result i64)
      (i64.reinterpret_f64 (f64.add (local.get 0) (local.get 1)))))"""
    store = wasmtime.Store(made)
    store.set_fuel(1000)
    store.set_epoch_deadline(1)
    function = wasmtime.Instance(store, wasmtime.Module(made, text), []).exports(store)["f"]
    assert isinstance(function, wasmtime.Func)
    odd = struct.unpack("<d", struct.pack("<Q", 0xFFF8_DEAD_BEEF_0001))[0]
    assert function(store, odd, 1.0) == function(store, 1.0, odd) == 0x7FF8_0000_0000_0000
    store.close()


HONEST = Done(
    status=Status.FINISHED,
    exit_code=0,
    value=EMPTY,
    stdout=Part(bytes(32), 100),
    stderr=EMPTY,
    files=(("a", EMPTY), ("b/c", EMPTY)),
    state=b"",
    fuel=10,
    seconds=0.1,
    cpu_seconds=0.1,
    peak_memory=65536,
    detail="",
    output=None,
)
FALSE: dict[str, dict[str, object]] = {
    "no such status": {"status": 6},
    "a code of a unit that finished": {"exit_code": 1},
    "no code of a unit that exited": {"status": Status.EXITED},
    "too much output": {"stderr": Part(bytes(32), 1000)},
    "a negative size": {"stderr": Part(bytes(32), -100)},
    "a short digest": {"stderr": Part(b"x", 0)},
    "a short state": {"state": b"x"},
    "files out of order": {"files": (("b", EMPTY), ("a", EMPTY))},
    "a file twice": {"files": (("a", EMPTY), ("a", EMPTY))},
    "a file above": {"files": (("a/../../b", EMPTY),)},
    "an absolute file": {"files": (("/a", EMPTY),)},
    "a file without a name": {"files": (("", EMPTY),)},
    "too long a path": {"files": (("a" * 256, EMPTY),)},
    "too many files": {"files": tuple((f"{n:05}", EMPTY) for n in range(1001))},
    "more fuel than there was": {"fuel": 101},
    "less fuel than a trap costs": {"status": Status.TRAPPED},
    "fuel of a local ending": {"status": Status.WALL_TIME, "stdout": EMPTY, "files": ()},
    "output of a local ending": {"status": Status.WALL_TIME, "fuel": 0},
    "more memory than there was": {"peak_memory": 2 << 20},
    "more of a processor than there was time": {"cpu_seconds": 1.0},
    "less than no processor": {"cpu_seconds": -1.0},
    "time that is no number": {"seconds": float("nan")},
    "a witness nobody asked for": {"witness": bytes(32)},
}


def claim(*, asked: bool = False, **changes: object) -> str | None:
    fields = {name: getattr(HONEST, name) for name in HONEST.__struct_fields__}
    return false_claim(Done(**{**fields, **changes}), Limits(memory=1 << 20, fuel=100, output=1000), witness=asked)


def test_an_honest_reply_is_believed() -> None:
    assert claim() is None
    assert claim(status=Status.EXITED, exit_code=2**32 - 1) is None
    assert claim(status=Status.TRAPPED, fuel=100) is None
    assert claim(status=Status.WORKER_LOST, fuel=0, stdout=EMPTY, files=()) is None
    assert claim(state=bytes(32)) is None


@pytest.mark.parametrize("name", FALSE)
def test_what_cannot_be_true_is_not_believed(name: str) -> None:
    assert claim(**FALSE[name]) is not None


def test_a_witness_is_there_if_it_was_asked_for_and_only_after_a_provable_ending() -> None:
    lost = {"status": Status.WORKER_LOST, "fuel": 0, "stdout": EMPTY, "files": ()}
    assert claim(asked=True, witness=bytes(32)) is None
    assert claim(asked=True, **lost) is None
    for wrong in ({}, {"witness": b"x"}, {"witness": bytes(33)}, {**lost, "witness": bytes(32)}):
        assert claim(asked=True, **wrong) is not None
