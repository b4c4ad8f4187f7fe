"""The embedded ledger: Foundry's anvil on loopback, its state kept on disk by us.

anvil writes its own state file in place, so a kill can tear it. We ask for the state over RPC instead, write it beside, make it durable
and rename it: after any kill the ledger is at most its last second short. Blocks are mined when transactions wait, because anvil's own
automining stalls under bursts.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import os
import platform
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from coincurve import PublicKey

from surge.core.signing import address_of_public_key
from surge.core.stack import same_recursion_limit
from surge.core.types import Address
from surge.errors import InternalFault, InvalidInput, LedgerError, Unavailable
from surge.ledger.endpoints import Endpoints

log = logging.getLogger(__name__)

READY_SECONDS = 30.0
"""Seconds anvil has to answer after its start."""

BUSY_POLL, IDLE_POLL = 0.02, 0.1
"""Seconds between looks for waiting transactions, while there are some and while there are none."""

DUMP_SECONDS = 0.8
"""Seconds between dumps of a state that changed."""

SUPPLY = 10**22
"""Wei of the coin that a new ledger begins with."""

STOP_SECONDS = 10.0
"""Seconds anvil has to end after SIGTERM."""


def _binary_names() -> str:
    """The npm package that carries anvil for this machine."""
    system = {"linux": "linux", "darwin": "darwin"}.get(sys.platform, sys.platform)
    machine = {"x86_64": "amd64", "aarch64": "arm64", "AMD64": "amd64"}.get(platform.machine(), platform.machine())
    return f"@foundry-rs/anvil-{system}-{machine}"


def _places() -> Iterator[Path]:
    """Where anvil may lie, in the order it is looked for."""
    named = os.environ.get("SURGE_ANVIL")
    if named:
        yield Path(named)
    found = shutil.which("anvil")
    if found and not Path(found).resolve().suffix:
        yield Path(found)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "surge"
    for root in (Path.cwd(), *Path.cwd().parents, *Path(__file__).resolve().parents, cache):
        yield root / "node_modules" / _binary_names() / "bin" / "anvil"


def find_anvil() -> Path:
    """Anvil's binary. Raises `Unavailable` with the command that installs it, `InvalidInput` if $SURGE_ANVIL names no program."""
    named = os.environ.get("SURGE_ANVIL")
    if named and not os.access(named, os.X_OK):
        raise InvalidInput(f"$SURGE_ANVIL names {named!r}, which is not a program; correct it or unset it", path=named)
    for place in _places():
        if place.is_file() and os.access(place, os.X_OK):
            return place
    raise Unavailable(
        "anvil, the embedded ledger, is not installed: "
        "`npm install --prefix ~/.cache/surge @foundry-rs/anvil@1.7.1` installs it, or set $SURGE_ANVIL to its path"
    )


@dataclass(frozen=True, slots=True)
class Genesis:
    """What makes an embedded ledger itself. Kept in `genesis.json`, readable by its owner only."""

    chain_id: int
    """Random, so that signatures mean nothing on another ledger."""
    mnemonic: str
    """Of the account that holds the coin. anvil never hears it: other users read its command line."""

    @property
    def treasury(self) -> Address:
        """The account, as wallets derive it."""
        with same_recursion_limit():
            from eth_account.hdaccount import key_from_seed, seed_from_mnemonic

        secret = key_from_seed(seed_from_mnemonic(self.mnemonic, ""), "m/44'/60'/0'/0/0")
        return address_of_public_key(PublicKey.from_secret(secret).format(compressed=False))


def load_genesis(folder: Path) -> Genesis:
    """The folder's genesis, made at its first use."""
    path = folder / "genesis.json"
    if path.is_file():
        try:
            return Genesis(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise InternalFault(f"{path} is damaged: start in another folder", path=str(path)) from error
    with same_recursion_limit():
        from eth_account.hdaccount import generate_mnemonic
        from eth_account.types import Language

    genesis = Genesis(secrets.randbelow(1 << 50) + (1 << 32), generate_mnemonic(12, Language.ENGLISH))
    folder.mkdir(parents=True, exist_ok=True)
    _write_durably(path, json.dumps({"chain_id": genesis.chain_id, "mnemonic": genesis.mnemonic}).encode())
    return genesis


class EmbeddedLedger:
    """anvil in a folder: `start`, then `run` until cancelled, then `stop`."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.genesis = load_genesis(folder)
        self._process: asyncio.subprocess.Process | None = None
        self._rpc = Endpoints([self.url], self.genesis.chain_id, embedded=True)
        self._dumped = ""

    async def start(self) -> None:
        """Start anvil with the state it had. Raises `Unavailable` when its port is taken or it does not start."""
        binary = await asyncio.to_thread(find_anvil)
        state = self.folder / "state.json"
        await asyncio.to_thread(_claim_port, self.port)
        argv = [
            str(binary), "--host", "127.0.0.1", "--port", str(self.port), "--chain-id", str(self.genesis.chain_id),
            "--accounts", "0", "--no-cors", "--no-mining", "--prune-history", "--order", "fifo", "--silent",
        ]  # fmt: skip
        founded = await asyncio.to_thread(state.is_file)
        if founded:
            argv += ["--load-state", str(state)]
        logs = await asyncio.to_thread((self.folder / "anvil.log").open, "ab")
        with logs:
            self._process = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.DEVNULL, stdout=logs, stderr=logs, preexec_fn=_die_with_parent
            )
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                await self._rpc.call("eth_chainId")
                break
            except Unavailable:
                if self._process.returncode is not None or time.monotonic() > deadline:
                    raise Unavailable(f"anvil does not start; see {self.folder / 'anvil.log'}", code=self._process.returncode) from None
                await asyncio.sleep(0.05)
        if not founded:
            await self._rpc.call("anvil_setBalance", self.genesis.treasury, hex(SUPPLY))

    async def run(self) -> None:
        """Mine what waits, and keep the state on disk, until cancelled or anvil ends."""
        assert self._process is not None
        dump_at = time.monotonic() + DUMP_SECONDS
        while self._process.returncode is None:
            try:
                busy = await self.mine()
                if time.monotonic() >= dump_at:
                    await self.dump()
                    dump_at = time.monotonic() + DUMP_SECONDS
            except (Unavailable, LedgerError) as error:
                log.warning("the embedded ledger: %s", error)
                busy = False
            await asyncio.sleep(BUSY_POLL if busy else IDLE_POLL)
        raise Unavailable(f"anvil ended with code {self._process.returncode}; see {self.folder / 'anvil.log'}")

    async def mine(self) -> bool:
        """Mine a block if transactions wait; says whether there were any."""
        status = await self._rpc.call("txpool_status")
        waiting = int(status["pending"], 16) > 0
        if waiting:
            await self._rpc.call("evm_mine")
        return waiting

    async def dump(self) -> None:
        """Put the state on disk, if it changed since the last time."""
        head = await self._rpc.call("eth_blockNumber")
        if head == self._dumped:
            return
        state = await self._rpc.call("anvil_dumpState")
        await asyncio.to_thread(self._keep, state)
        self._dumped = head

    def _keep(self, state: str) -> None:
        try:
            _write_durably(self.folder / "state.json", gzip.decompress(bytes.fromhex(state[2:])))
        except OSError as error:
            raise Unavailable(f"the ledger's state cannot be written: {error.strerror}", folder=str(self.folder)) from error

    async def stop(self) -> None:
        """Dump, and end anvil."""
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(Unavailable, LedgerError):
                await self.mine()
                await self.dump()
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        await self._rpc.close()


def _claim_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Unavailable(
                f"port {port} of the ledger is taken by another program: end that, or start the network in another folder",
                port=port,
            ) from error


def _die_with_parent() -> None:
    """In the child, before it becomes anvil: ask Linux to end it with us."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


def _write_durably(path: Path, data: bytes) -> None:
    """Write beside, fsync, rename, fsync the folder."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
