"""`surge up`: a whole network on one machine, each part a process of its own.

The ledger is anvil on loopback, so whoever runs it is trusted with the money on it: a network for one machine, for learning,
testing and private clusters. Everything lies in one folder and is found again after any stop, orderly or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import click

from surge.cli import places
from surge.cli.children import Child, say_ready, stopped
from surge.cli.children import with_parent as die_with_parent
from surge.cli.console import Size, err, out
from surge.cli.lending import usual_room
from surge.core.text import counted
from surge.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Plan:
    """What a network on this machine consists of. Written once, so that a restart finds the same one."""

    relays: int
    providers: int
    cores: int
    """Cores each provider lends."""
    memory: int
    """Bytes each provider lends."""
    ledger_port: int
    relay_ports: tuple[int, ...]
    jurors: int = 0
    """Devices that do juror duty and nothing else."""
    storage: int = 0
    """Bytes of disk each provider lends; none in a network that was planned before there was storage."""

    @property
    def parts(self) -> str:
        """What it consists of, in words."""
        devices = [counted(self.relays, "relay"), counted(self.providers, "provider")]
        if self.jurors:
            devices.append(counted(self.jurors, "juror"))
        return f"a ledger, {', '.join(devices[:-1])} and {devices[-1]}"


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def load_plan(data: Path, relays: int, providers: int, cores: int, memory: int, jurors: int = 0, storage: int | None = None) -> Plan:
    """The folder's plan, made at its first use. Jurors may be added to it later: more of them than it has."""
    path = data / "plan.json"
    if path.is_file():
        try:
            fields = json.loads(path.read_text())
            found = Plan(**{**fields, "relay_ports": tuple(fields["relay_ports"])})
            numbers = (found.relays, found.providers, found.cores, found.memory, found.ledger_port, *found.relay_ports)
            numbers += (found.jurors, found.storage)
            if len(found.relay_ports) != found.relays or not all(type(each) is int and each >= 0 for each in numbers):
                raise ValueError("not the numbers of a plan")
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidInput(f"{path} is damaged: start in another folder, or delete {data} and its network with it") from error
        if jurors > found.jurors:
            found = replace(found, jurors=jurors)
            _write_plan(path, found)
        return found
    ports = free_ports(1 + relays)
    lent = usual_room(data, providers) if storage is None else storage
    plan = Plan(relays, providers, cores, memory, ports[0], tuple(ports[1:]), jurors, lent)
    data.mkdir(parents=True, exist_ok=True)
    _write_plan(path, plan)
    return plan


def _write_plan(path: Path, plan: Plan) -> None:
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(asdict(plan), indent=2))
    beside.replace(path)


def end_leftovers(data: Path) -> None:
    """End processes that an earlier `surge up` in this folder left running, by their ids and start times."""
    import psutil

    path = data / "processes.json"
    if not path.is_file():
        return
    try:
        known = [(int(entry["pid"]), float(entry["started"])) for entry in json.loads(path.read_text())]
    except (ValueError, TypeError, KeyError):
        known = []
    left = []
    for pid, started in known:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if abs(process.create_time() - started) < 1.0:
                left += [process, *process.children(recursive=True)]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(left, timeout=10)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=10)
    path.unlink(missing_ok=True)


def remember(data: Path, children: list[Child]) -> None:
    """Write down what runs, so that a later start can end what a kill left behind."""
    import psutil

    entries = []
    for pid in [os.getpid(), *(child.pid for child in children)]:
        if pid is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                entries.append({"pid": pid, "started": psutil.Process(pid).create_time()})
    beside = data / "processes.tmp"
    beside.write_text(json.dumps(entries))
    beside.replace(data / "processes.json")


@contextlib.contextmanager
def alone(data: Path) -> Iterator[None]:
    """Hold the folder: a second `surge up` in it would end the first one's processes. Raises `InvalidInput` if another holds it."""
    data.mkdir(parents=True, exist_ok=True)
    lock = os.open(data / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInput(f"a network runs in {data} already: use it, stop it, or name another folder", path=str(data)) from None
        yield
    finally:
        os.close(lock)


def command(*words: str) -> list[str]:
    """The argv of a surge command run by this interpreter."""
    return [sys.executable, "-m", "surge.cli", *words]


def device(kind: str, index: int, data: Path, *options: str) -> Child:
    """A device of the network in `data`: `surge provide` with a folder of its own, and so with an operator of its own."""
    argv = command("provide", "--data", str(data / f"{kind}s" / str(index)), "--network", str(data / "network.json"), "--yes", *options)
    return Child(f"{kind} {index}", argv, data / "logs" / f"{kind}-{index}.log")


@dataclass
class Parts:
    """The processes of a network."""

    data: Path
    children: list[Child] = field(default_factory=list)
    watchers: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    @property
    def network(self) -> Path:
        """Its network.json."""
        return self.data / "network.json"

    async def start(self, *children: Child) -> None:
        """Start these together; they are ready when this returns."""
        self.children += children
        await asyncio.gather(*(child.start() for child in children))
        remember(self.data, self.children)

    def watch(self) -> None:
        """Start those again that die from now on."""
        self.watchers = {child.name: asyncio.create_task(keep(child, self.data, self.children)) for child in self.children}

    async def stop(self, *kinds: str) -> None:
        """Stop those of these kinds; they have ended when this returns, and what a provider earned is redeemed if it is worth its gas."""
        ending = [child for child in self.children if child.name.startswith(kinds)]
        watchers = [self.watchers.pop(child.name) for child in ending if child.name in self.watchers]
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        await asyncio.gather(*(child.stop() for child in ending))


@contextlib.asynccontextmanager
async def running(data: Path, plan: Plan) -> AsyncIterator[Parts]:
    """The network of `plan` in `data`, from ready to stopped."""
    with alone(data):
        async with _running(data, plan) as parts:
            yield parts


@contextlib.asynccontextmanager
async def _running(data: Path, plan: Plan) -> AsyncIterator[Parts]:
    from surge.cli.founding import JUROR_SEATS, found

    end_leftovers(data)
    await asyncio.to_thread(prepare_image)
    logs = data / "logs"
    ledger = command("ledger", "--data", str(data / "ledger"), "--port", str(plan.ledger_port))
    remember(data, [])
    parts = Parts(data)
    try:
        await parts.start(Child("ledger", ledger, logs / "ledger.log"))
        network = await found(data, plan)
        relays = [
            Child(
                f"relay {index}",
                command("relay", "--data", str(data / "relays" / str(index)), "--port", str(port), "--network", str(network)),
                logs / f"relay-{index}.log",
            )
            for index, port in enumerate(plan.relay_ports)
        ]
        near = ("--listen", "127.0.0.1:0")
        lending = ("--cores", str(plan.cores), "--memory", str(plan.memory), "--storage", str(plan.storage), *near)
        devices = [device("provider", index, data, *lending) for index in range(plan.providers)]
        sitting = ("--juror-only", "--seats", str(JUROR_SEATS), *near)
        devices += [device("juror", index, data, *sitting) for index in range(plan.jurors)]
        await parts.start(*relays)
        await parts.start(*devices)
        parts.watch()
        yield parts
    finally:
        await parts.stop("provider", "juror")
        await parts.stop("relay")
        await parts.stop("ledger")
        (data / "processes.json").unlink(missing_ok=True)


async def keep(child: Child, data: Path, children: list[Child]) -> None:
    """Watch a child and write down the new process whenever it was started again."""

    async def note() -> None:
        known = child.pid
        while True:
            await child.ready.wait()
            if child.pid != known:
                known = child.pid
                remember(data, children)
            await asyncio.sleep(1.0)

    async with asyncio.TaskGroup() as group:
        group.create_task(child.watch())
        group.create_task(note())


def prepare_image() -> None:
    """Compile the Python image before any provider needs it, with a progress bar, once for this machine."""
    from surge.cli.image import ensure_image

    ensure_image()


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="The network's folder. [default: the user's data folder]",
)
@click.option("--relays", default=2, show_default=True, type=click.IntRange(1, 8), help="Relays, at the first start.")
@click.option("--providers", default=4, show_default=True, type=click.IntRange(0, 64), help="Providers, at the first start.")
@click.option("--cores", default=1, show_default=True, type=click.IntRange(1, 256), help="Cores each provider lends.")
@click.option("--memory", default="2G", show_default=True, type=Size(), help="Memory each provider lends.")
@click.option("--jurors", default=0, show_default=True, type=click.IntRange(0, 45), help="Jurors, at any start: a case takes 5 at least.")
@click.option("--storage", type=Size(), default=None, help="Disk each provider lends, at the first start. [default: up to 4G]")
@click.option("--with-parent", type=int, hidden=True)
def up(
    data: Path | None,
    relays: int,
    providers: int,
    cores: int,
    memory: int,
    jurors: int,
    storage: int | None,
    with_parent: int | None,
) -> None:
    """Start a whole network on this machine: ledger, relays, providers, and jurors if you want to try disputes.

    Runs in the foreground, prints `network ready: DIR/network.json` once jobs can run, and stops everything it started on
    SIGTERM or Ctrl-C. Started again in the same folder it finds its network as it was.
    """
    if with_parent:
        die_with_parent(with_parent)
    folder = (data or places.default_up()).resolve()
    asyncio.run(_up(folder, load_plan(folder, relays, providers, cores, memory, jurors, storage), child=bool(with_parent)))


async def _up(data: Path, plan: Plan, *, child: bool) -> None:
    err.print(f"starting {plan.parts} in {data}", style="dim", markup=False)
    stop = asyncio.create_task(stopped())
    new = not (data / "network.json").exists()
    if new:
        places.point_to(data / "network.json")  # so that who comes too early is told
    try:
        async with running(data, plan) as parts:
            network = parts.network
            places.point_to(network)
            out.print(f"network ready: {network}", markup=False, soft_wrap=True)
            if child:
                say_ready()
            err.print("a ledger for this machine only: whoever runs it is trusted with the money on it", style="dim")
            try:
                await stop
            finally:
                places.forget(network)
                err.print("stopping", style="dim")
    except BaseException:
        stop.cancel()
        if new:
            places.forget(data / "network.json")
        raise
