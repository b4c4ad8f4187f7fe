"""What a buyer can ask of a network: maps, calls, retainers. `surge.api` puts the whole public API together.

Everything here is blocking and may be called from any thread; the work happens on one event loop in the background.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from surge.buyer import records
from surge.buyer.background import Background
from surge.buyer.bundle import Files
from surge.buyer.client import Client
from surge.buyer.disputing import Disputing
from surge.buyer.encoding import Run, RunResult, decode_run, encode_run, encode_value
from surge.buyer.intake import Intake
from surge.buyer.job import Job
from surge.buyer.journal import DONE
from surge.buyer.options import Asked, chunk_of
from surge.buyer.plan import CALLS, MAP, RUNS, Plan
from surge.buyer.plans import command_plan, python_plan
from surge.buyer.rehearsal import Rehearsal, rehearse
from surge.buyer.results import Progress, Results, decode_piece
from surge.buyer.retainer import Retainer, hours_of
from surge.buyer.sizes import AIM_SECONDS
from surge.buyer.staking import Staking
from surge.buyer.submitting import CALL_SECONDS, Calls, Executor
from surge.core.text import counted
from surge.errors import InvalidInput

T = TypeVar("T")

EAGER = 1 << 40
"""Items a sized input is spooled ahead: all of them, so that the job can be finished after a kill."""


class Network(Disputing, Staking):
    """A network, joined with one wallet, as a buyer of work uses it."""

    def __init__(self, client: Client, background: Background) -> None:
        super().__init__(client, background)
        self._shared: dict[Any, tuple[Calls, Job]] = {}
        self._lock = threading.Lock()
        self._closed = False

    @property
    def address(self) -> str:
        """The wallet's address."""
        return self._client.wallet.address

    # Maps

    def map(
        self,
        function: Callable[[Any], T],
        items: Iterable[Any],
        *,
        chunk: int | str = "auto",
        files: Files = (),
        packages: Iterable[str | Path] = (),
        seed: int | str | bytes = 0,
        errors: str = "raise",
        total: int | None = None,
        **asked: Unpack[Asked],
    ) -> Results:
        """Run `function` over `items`; an ordered iterator over the results, which arrive as they are computed.

        Items are pulled as they are needed: an endless generator works. An item whose call raised raises `RemoteError` at its
        place, and iteration goes on behind it; with `errors="return"` the error stands in the results instead. Whoever drops the
        iterator, by `break` for instance, stops the job; `resume` goes on with it.

        Args:
            function: a function at the top level of a module, a script or a notebook.
            items: one argument each: plain data.
            chunk: items in a unit, or "auto" for units of about half a second. Results do not depend on it.
            files: paths the function may read under /job, or a mapping of names to paths.
            packages: pure-Python wheels to ship.
            seed: of the job's randomness: the same seed gives the same draws.
            errors: "raise" or "return".
            total: how many items there are, where `items` does not know its length.
            asked: limits of a unit and wishes about providers (`surge.buyer.options.Asked`).
        """
        _check_errors(errors)
        plan = python_plan(
            function,
            self._client.home.contents,
            kind=MAP,
            asked=asked,
            files=files,
            packages=packages,
            seed=seed,
            chunk=chunk_of(chunk),
        )
        return self._stream(plan, items, encode_value, decode_piece, errors, total)

    def run_each(
        self,
        module: str | Path,
        runs: Iterable[Run],
        *,
        files: Files = (),
        errors: str = "raise",
        total: int | None = None,
        **asked: Unpack[Asked],
    ) -> Results:
        """Run a WASI command many times, each with its own arguments and standard input; ordered `RunResult`s."""
        _check_errors(errors)
        plan = command_plan(module, self._client.home.contents, asked=asked, files=files)
        program = Path(module).stem
        return self._stream(plan, runs, lambda run: encode_run(program, run), decode_run, errors, total)

    def _stream(
        self,
        plan: Plan,
        items: Iterable[Any],
        encode: Callable[[Any], bytes],
        decode: Callable[[bytes, int], list[list[Any]]],
        errors: str,
        total: int | None,
    ) -> Results:
        sized = len(items) if isinstance(items, Sized) else None
        progress = Progress(total=total if total is not None else sized)
        results, wake, bind = self._results(plan, progress, decode, errors)
        feed = Intake(items, encode, wake)
        ahead = None if sized is None else EAGER
        bind(self._background.call(self._client.start(plan, feed, results.arrivals, progress, ahead=ahead)))
        feed.start()
        return results

    def _results(
        self, plan: Plan, progress: Progress, decode: Callable[[bytes, int], list[list[Any]]], errors: str
    ) -> tuple[Results, Callable[[], None], Callable[[Job], None]]:
        """Results of a job that is about to start: the iterator, what wakes the job, and what tells them of it."""
        soon = self._background.soon
        started: list[Job] = []

        def each(call: Callable[[Job], None]) -> None:
            if started:
                soon(call, started[0])

        results = Results(
            plan.id.hex(),
            progress,
            errors=errors,
            decode=decode,
            cancel=lambda: each(lambda job: job.cancel(by_reader=True)),
            consumed=lambda upto: each(lambda job: job.consumed(upto)),
            dropped=lambda: each(Job.stop),
        )

        def bind(job: Job) -> None:
            started.append(job)
            soon(job.poke)

        return results, lambda: each(Job.poke), bind

    # Single calls

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[T]:
        """Run `function(*args, **kwargs)` on some provider; a `concurrent.futures.Future`. Calls of one function share a job."""
        calls = self._calls_of((function,), lambda: python_plan(function, self._client.home.contents, kind=CALLS, asked={}))
        return calls.submit((list(args), kwargs))

    def executor(
        self,
        *,
        files: Files = (),
        packages: Iterable[str | Path] = (),
        seed: int | str | bytes = 0,
        **asked: Unpack[Asked],
    ) -> Executor:
        """A `concurrent.futures.Executor`, for code that takes one. The options hold for everything submitted to it."""
        mark = object()
        contents = self._client.home.contents

        def submit(function: Callable[..., Any], args: Any, kwargs: Any) -> concurrent.futures.Future[Any]:
            def make() -> Plan:
                return python_plan(function, contents, kind=CALLS, asked=asked, files=files, packages=packages, seed=seed)

            return self._calls_of((mark, function), make).submit((list(args), kwargs))

        def finish() -> None:
            for key, (calls, _) in list(self._shared.items()):
                if key[0] is mark:
                    calls.finish()

        return Executor(submit, finish)

    def run(
        self,
        module: str | Path,
        argv: Iterable[str] = (),
        stdin: bytes | str | Path = b"",
        env: Mapping[str, str] | None = None,
        files: Files = (),
        **asked: Unpack[Asked],
    ) -> RunResult:
        """Run a WASI command once and wait for it: its output, exit code, files, price.

        Args:
            module: the WebAssembly module's path.
            argv: arguments behind the program's name.
            stdin: bytes, text, or a file's path.
            env: the environment; nothing else is in it.
            files: what it may read under /job.
            asked: limits of the run and wishes about providers.
        """
        status = Path(module).stat() if Path(module).is_file() else None
        named = tuple(sorted(files.items())) if isinstance(files, Mapping) else (files if isinstance(files, str | Path) else tuple(files))
        key = ("run", str(module), status and (status.st_mtime_ns, status.st_size), named, tuple(sorted(asked.items())))
        contents = self._client.home.contents
        calls = self._calls_of(key, lambda: command_plan(module, contents, asked=asked, files=files, kind=RUNS), command=True)
        program = Path(module).stem
        future = calls.submit((program, Run(tuple(argv), stdin, dict(env or {}))))
        try:
            result: RunResult = future.result()
        except BaseException:
            future.cancel()
            raise
        return result

    def _calls_of(self, key: Any, make: Callable[[], Plan], *, command: bool = False) -> Calls:
        with self._lock:
            found = self._shared.get(key)
            if found is not None and found[0].open:
                return found[0]
            self._shared = {each: kept for each, kept in self._shared.items() if kept[0].open}
            return self._open_calls(key, make(), command=command)

    def _open_calls(self, key: Any, plan: Plan, *, command: bool) -> Calls:
        soon = self._background.soon
        started: list[Job] = []

        def wake() -> None:
            if started:
                soon(started[0].poke)

        calls = Calls(lambda item: encode_run(*item), decode_run, wake) if command else Calls(encode_value, decode_piece, wake)
        aim = AIM_SECONDS if command else CALL_SECONDS
        job = self._background.call(self._client.start(plan, calls, calls, Progress(), in_order=False, aim=aim))
        started.append(job)
        self._shared[key] = (calls, job)
        return calls

    # Holding devices ready

    def retain(self, devices: int | str | Sequence[str], *, hours: float, cores: int = 1, max_price: int | None = None) -> Retainer:
        """Have devices keep cores free for this wallet, for a retainer by the hour; returns once they do.

        Only time in which a device answered is paid, minute by minute. Its jobs are not sent there by themselves: name the devices with
        `providers=`.

        Args:
            devices: how many, the cheapest first, or which.
            hours: for how long at most; `Retainer.end` ends it before.
            cores: of each device.
            max_price: wei for a core over an hour, at most.

        Raises:
            NoProvider: too few offer that.
            Unavailable: one of them does not hold its cores; then none is held.
        """
        wanted = [devices] if isinstance(devices, str) else devices
        seconds = hours_of(hours)
        return Retainer(
            self._background, self._background.call(self._client.retain(wanted, cores=cores, seconds=seconds, max_price=max_price))
        )

    # Rehearsing

    def check(
        self,
        function: Callable[[Any], Any],
        item: Any,
        *,
        files: Files = (),
        packages: Iterable[str | Path] = (),
        seed: int | str | bytes = 0,
        **asked: Unpack[Asked],
    ) -> Rehearsal:
        """Run `function(item)` here, in the same sandbox, for nothing: its value, fuel, seconds, and what it would cost."""
        plan = python_plan(function, self._client.home.contents, kind=MAP, asked=asked, files=files, packages=packages, seed=seed)
        return self._background.call(rehearse(self._client, plan, encode_value(item)))

    # Going on with jobs

    def resume(self, job: str, items: Iterable[Any] | None = None, *, errors: str = "raise", budget: int | None = None) -> Results:
        """Finish a job that was interrupted or cancelled; its results from the first on, those already there included.

        Accepted units are not run again and nothing is paid for twice. `items` continues the input where its maker was killed
        before all of it was recorded: pass the same iterable again. `budget` replaces the job's.
        """
        _check_errors(errors)
        record = records.find_job(self._journal, job)
        if not record.plan.is_resumable:
            raise InvalidInput("single calls are not resumed: whoever waits for them is gone", job=record.id)
        saved = self._background.call(records.load(self._client.journal, record))
        whole = record.total is not None and record.spooled >= record.total
        if not whole and items is None and record.state != DONE:
            raise InvalidInput(
                f"only {counted(record.spooled, 'item')} of the job's input got recorded before it stopped: pass the same input again, "
                "with items= or, on the command line, --inputs",
                spooled=record.spooled,
            )
        command = not record.plan.is_python
        progress = Progress(total=record.total)
        results, wake, bind = self._results(record.plan, progress, decode_run if command else decode_piece, errors)
        encode = (lambda run: encode_run(record.plan.name, run)) if command else encode_value
        feed = Intake(() if whole or items is None else items, encode, wake, skip=0 if whole else record.spooled)
        allowed = budget if budget is not None else record.plan.wishes.budget
        bind(self._background.call(self._client.resume(saved, feed, results.arrivals, progress, budget=allowed)))
        feed.start()
        return results

    def cancel(self, job: str) -> None:
        """Stop a job, also one that runs in another process; what was accepted stays paid and recorded.

        Whoever reads its results gets `Cancelled` behind those that are there, within a second or so, and so does whoever waits for a
        single call of it. `resume` takes a cancelled job up again as it does any other. Raises `InvalidInput` for one that is done.
        """
        record = records.find_job(self._journal, job)
        running = self._client.jobs.get(bytes.fromhex(record.id))
        if running is not None:
            self._background.soon(running.cancel)
        elif not self._background.call(self._client.journal.cancel_job(bytes.fromhex(record.id))):
            raise InvalidInput(f"the job {record.id[:12]} is done: there is nothing to cancel", job=record.id)

    # The end

    def close(self, *, wait: bool = True) -> None:
        """Leave the network. With `wait`, single calls under way are waited for; other jobs are stopped and can be resumed."""
        if self._closed:
            return
        self._closed = True
        try:
            for calls, _ in self._shared.values():
                if wait:
                    concurrent.futures.wait(calls.unfinished())
                calls.finish()
            self._background.call(self._client.close())
        finally:
            self._background.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            for job in list(self._client.jobs.values()):
                if job.plan.is_resumable:
                    again = f"network.resume({job.plan.id.hex()[:12]!r})"
                    error.add_note(f"a job was under way: {again}, or {job.plan.advice('goes on with it')}")
        self.close(wait=kind is None)


def _check_errors(errors: str) -> None:
    if errors not in ("raise", "return"):
        raise InvalidInput(f'errors={errors!r} is neither "raise" nor "return"', errors=errors)
