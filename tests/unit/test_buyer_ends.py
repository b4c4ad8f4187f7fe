"""The ends of a job: where items come from, where results go, what a user may ask."""

from __future__ import annotations

import gc
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import pytest

from surge.buyer import intake as intake_module
from surge.buyer.encoding import encode_value
from surge.buyer.endings import guest_fault, local_fault, setup_fault
from surge.buyer.intake import Intake
from surge.buyer.results import Piece, Progress, Results, decode_piece
from surge.buyer.submitting import Calls, Executor
from surge.core import canonical, values
from surge.core.messages import Refusal
from surge.core.units import PROVABLE, Limits, Outcome, Part, Status, billed_fuel
from surge.errors import GuestFault, NotData, RemoteError, Unavailable


def until(condition: Any, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# Intake


def test_items_are_pulled_up_to_what_is_wanted_and_no_further() -> None:
    pulled: list[int] = []

    def items() -> Any:
        for index in itertools.count():
            pulled.append(index)
            yield index

    intake = Intake(items(), values.dumps, lambda: None)
    intake.start()
    intake.want(10)
    until(lambda: len(pulled) >= 10)
    time.sleep(0.02)
    assert len(pulled) == 10
    assert [values.loads(data) for data in intake.take()] == list(range(10))
    intake.want(12)
    until(lambda: len(pulled) == 12)
    intake.stop()


def test_no_more_is_pulled_while_much_waits_to_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "MAX_WAITING", 1000)
    pulled: list[int] = []

    def items() -> Any:
        for index in range(40):
            pulled.append(index)
            yield bytes(300)

    intake = Intake(items(), bytes, lambda: None)
    intake.want(100)
    intake.start()
    taken = 0
    while not intake.ended:
        upto = min(taken + 5, 40)
        until(lambda upto=upto: intake.ended or len(pulled) >= upto)
        time.sleep(0.005)
        assert len(pulled) <= upto
        taken += len(intake.take())
    assert taken + len(intake.take()) == 40
    pulled.clear()
    stopped = Intake(items(), bytes, lambda: None)
    stopped.want(100)
    stopped.start()
    until(lambda: len(pulled) == 5)
    stopped.stop()
    until(lambda: stopped.ended)


def test_an_item_is_encoded_when_it_is_pulled() -> None:
    shared = [1]

    def items() -> Any:
        yield shared
        shared.append(2)
        yield shared

    intake = Intake(items(), values.dumps, lambda: None)
    intake.start()
    intake.want(5)
    until(lambda: intake.ended)
    assert [values.loads(data) for data in intake.take()] == [[1], [1, 2]]


def test_many_items_wake_once() -> None:
    woken: list[int] = []
    intake = Intake(range(1000), values.dumps, lambda: woken.append(1))
    intake.want(1001)
    intake.start()
    until(lambda: intake.ended)
    assert len(woken) <= 2
    assert len(intake.take()) == 1000


def broken_items() -> Any:
    yield 1
    raise OSError("the file ended")


@pytest.mark.parametrize(("items", "error"), [(broken_items(), OSError), ([1, object()], NotData)])
def test_the_users_error_and_what_is_no_data_are_kept_for_them(items: Any, error: type[Exception]) -> None:
    intake = Intake(items, encode_value, lambda: None)
    intake.want(5)
    intake.start()
    until(lambda: intake.ended)
    assert isinstance(intake.error, error)
    assert len(intake.take()) == 1


def test_what_is_no_data_is_named_by_its_place_in_the_input() -> None:
    intake = Intake([1, 2, 3, {"a": object()}], encode_value, lambda: None, skip=2)
    intake.want(5)
    intake.start()
    until(lambda: intake.ended)
    assert isinstance(intake.error, NotData)
    assert intake.error.details["index"] == 3
    assert intake.error.message.startswith("item 3: this cannot travel: object is not data, in value['a']")


def test_a_resumed_input_skips_what_was_recorded() -> None:
    intake = Intake(range(5), values.dumps, lambda: None, skip=3)
    intake.want(5)
    intake.start()
    until(lambda: intake.ended)
    assert [values.loads(data) for data in intake.take()] == [3, 4]


# Results


def results(dropped: Callable[[], None] = lambda: None) -> Results:
    return Results("job", Progress(), errors="raise", cancel=lambda: None, consumed=lambda upto: None, dropped=dropped)


def piece(first: int, *entries: Any) -> Piece:
    return Piece(first, len(entries), values.dumps([["ok", entry] for entry in entries]))


def test_results_come_in_order_however_they_arrive() -> None:
    found = results()
    found.arrivals.put(piece(2, "c"))
    found.arrivals.put(piece(0, "a", "b"))
    found.arrivals.end(3)
    assert list(found) == ["a", "b", "c"]
    assert list(found) == []


def test_a_consumer_that_waits_is_woken() -> None:
    found = results()
    got: list[Any] = []
    reader = threading.Thread(target=lambda: got.extend(found))
    reader.start()
    found.arrivals.put(piece(0, 1))
    found.arrivals.wake()
    until(lambda: got == [1])
    found.arrivals.put(piece(1, 2))
    found.arrivals.end(2)
    reader.join(5)
    assert got == [1, 2]


def test_results_that_are_dropped_say_so_once_and_a_reader_keeps_them() -> None:
    dropped: list[int] = []
    found = results(dropped=lambda: dropped.append(1))
    found.arrivals.put(piece(0, 1, 2, 3))
    assert list(itertools.islice(found, 2)) == [1, 2]
    gc.collect()
    assert not dropped
    del found
    gc.collect()
    assert dropped == [1]


def test_a_failure_is_raised_once_behind_the_results_before_it() -> None:
    found = results()
    found.arrivals.put(piece(0, 1))
    found.arrivals.end(1, Unavailable("gone"))
    assert next(found) == 1
    with pytest.raises(Unavailable):
        next(found)
    with pytest.raises(StopIteration):
        next(found)


def test_an_items_error_is_raised_at_its_place() -> None:
    found = results()
    found.arrivals.put(Piece(0, 2, values.dumps([["error", "ValueError", "no", "Traceback"], ["ok", 2]])))
    found.arrivals.put(Piece(2, 1, None, GuestFault("trapped")))
    found.arrivals.put(piece(3, 4))
    found.arrivals.end(4)
    with pytest.raises(RemoteError, match="ValueError: no") as caught:
        next(found)
    assert caught.value.details["index"] == 0
    assert next(found) == 2
    with pytest.raises(GuestFault, match="trapped"):
        next(found)
    assert list(found) == [4]


ODD_VALUES: list[Any] = [
    1,
    [],
    [["ok"]],
    [["no", 1]],
    [["error", "type", "text"]],
    [["error", 10**5000, "text", "traceback"]],
    [["error", "type", b"text", "traceback"]],
]


@pytest.mark.parametrize("value", [b"", *map(values.dumps, ODD_VALUES)])
def test_a_value_that_is_no_list_of_results_is_a_guests_fault(value: bytes) -> None:
    with pytest.raises(GuestFault):
        decode_piece(value, 1)


def test_what_a_guest_says_does_not_steer_the_terminal() -> None:
    found = results()
    text = "\x1b]0;owned\x07\x1b[2Jline\r\n\tnext \x9b1m\u202e\x7f"
    found.arrivals.put(Piece(0, 1, values.dumps([["error", "Bad\x1b[31m", text, "Trace\x1b[Aback"]])))
    with pytest.raises(RemoteError) as caught:
        next(found)
    said = str(caught.value) + "".join(str(caught.value.details[name]) for name in ("type", "text", "traceback"))
    assert all(each.isprintable() or each in "\n\t" for each in said)
    assert caught.value.details["text"] == "\\x1b]0;owned\\x07\\x1b[2Jline\\x0d\n\tnext \\x9b1m\\u202e\\x7f"
    nothing = Part.of(b"")
    outcome = Outcome(Status.TRAPPED, 0, nothing, nothing, Part.of(b"\x1b[2Jsaid"), (), b"", 0)
    fault = guest_fault(outcome, b"\x1b[2Jsaid", "det\x1bail")
    assert all(each.isprintable() or each == "\n" for each in str(fault))
    assert fault.details["stderr"] == "\\x1b[2Jsaid"


TRACE = "error while executing at wasm backtrace:\n    0: 0x10b367 - python.wasm!_Py_Dealloc"


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.FINISHED])
def test_every_ending_says_what_to_do(status: Status) -> None:
    nothing = Part.of(b"")
    fault = guest_fault(Outcome(status, 3, nothing, nothing, nothing, (), b"", 0), b"", "detail")
    assert fault.message[:40] != status.name
    assert fault.message.startswith("it exited with code 3" if status is Status.EXITED else ("it ", "its ", "the "))
    assert ("billed its whole fuel limit" in fault.message) is (billed_fuel(status, 1, Limits()) != 1 and status in PROVABLE)
    refusal = Refusal(1, "local", "said\x1b[2J", canonical.encode({"status": status.name}))
    local = local_fault(refusal)
    assert "every provider that tried" in local.message
    assert "\x1b" not in local.message
    assert local.details["status"] == ("" if status in PROVABLE else status.name)


def test_where_a_stack_ran_out_is_no_part_of_the_message() -> None:
    deep = local_fault(Refusal(1, "local", TRACE, canonical.encode({"status": "NATIVE_STACK"})))
    assert "endless recursion" in deep.message
    assert "python.wasm" not in deep.message
    assert deep.details["said"] == TRACE
    assert "python.wasm" in local_fault(Refusal(1, "internal", TRACE, b"\xff")).message


def test_a_module_the_guest_lacks_comes_with_advice() -> None:
    said = "Traceback\nModuleNotFoundError: No module named 'torch.nn'. Site initialization is disabled"
    fault = setup_fault(GuestFault("it exited with code 1", stderr=said))
    assert fault.message.startswith("the module's top level failed: it exited with code 1\n")
    assert "the guest has no torch.nn: ship it with packages=" in fault.message
    assert "packages" not in setup_fault(GuestFault("it trapped")).message
    assert "__main__" in setup_fault(GuestFault("it trapped")).message


# Calls


def calls() -> Calls:
    return Calls(encode_value, decode_piece, lambda: None)


def test_a_call_gives_its_future_its_result_or_its_error() -> None:
    one = calls()
    futures = [one.submit(number) for number in range(4)]
    one.want(4)
    assert len(one.take()) == 4
    one.put(Piece(0, 2, values.dumps([["ok", "zero"], ["error", "KeyError", "k", "tb"]])))
    one.put(Piece(2, 1, None, GuestFault("trapped")))
    assert futures[0].result(1) == "zero"
    assert isinstance(futures[1].exception(1), RemoteError)
    assert isinstance(futures[2].exception(1), GuestFault)
    one.end(None, Unavailable("no provider"))
    assert isinstance(futures[3].exception(1), Unavailable)
    with pytest.raises(Unavailable):
        one.submit(5)


def test_a_cancelled_call_is_never_sent_and_one_that_was_taken_cannot_be_cancelled() -> None:
    one = calls()
    futures = [one.submit(number) for number in range(5)]
    one.want(2)
    assert futures[1].cancel()
    assert [values.loads(data) for data in one.take()] == [0, 2]
    assert not futures[2].cancel()
    assert futures[3].cancel()
    assert one.unfinished() == [futures[0], futures[2], futures[4]]
    one.finish()
    assert not one.ended
    one.want(9)
    assert [values.loads(data) for data in one.take()] == [4]
    assert one.ended
    one.put(piece(0, "zero", "two", "four"))
    assert [future.result(1) for future in futures[::2]] == ["zero", "two", "four"]
    with pytest.raises(CancelledError):
        futures[3].result(1)


def test_shutting_down_with_cancel_waits_for_no_call_that_is_not_sent() -> None:
    one = calls()
    executor = Executor(lambda function, args, kwargs: one.submit(args), one.finish)
    futures = [executor.submit(print, number) for number in range(5)]
    executor.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    one.want(5)
    assert one.take() == []
    assert one.ended


def test_what_cannot_travel_is_refused_where_it_is_submitted() -> None:
    with pytest.raises(NotData, match="value"):
        calls().submit(object())


def test_an_executor_that_was_shut_down_takes_nothing() -> None:
    finished: list[int] = []
    executor = Executor(lambda function, args, kwargs: calls().submit(1), lambda: finished.append(1))
    executor.shutdown(wait=False)
    assert finished == [1]
    with pytest.raises(RuntimeError):
        executor.submit(print)
