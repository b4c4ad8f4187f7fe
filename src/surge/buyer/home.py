"""Where a buyer's state lies, which network is meant, and whether it was recognised.

An embedded network keeps its buyer beside its network.json; every other network has a folder of its own under the user's data
folder. A network.json that was not made here is used only after `trust` was given once, for exactly those contracts.
"""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from surge.core.network import NetworkFile
from surge.core.network import decode as decode_network
from surge.core.stack import parse_json
from surge.core.types import Address
from surge.errors import InvalidInput, Unavailable
from surge.wallet import KeySigner, Keystore

OWN_FOLDER = OWN_WALLET = "buyer"
"""The folder of an embedded network's own buyer, beside its network.json, and the name of its wallet's key."""

USER_WALLET = "default"
"""The name of the user's own key, used on every other network."""

LISTENS_SECONDS = 1.0
"""Seconds for a ledger on this machine to take a connection."""

SESSION_KEYS = "session-"
"""How the names of channels' keys begin: they hold no money."""


@dataclass(frozen=True, slots=True)
class Home:
    """A buyer's place on disk for one network."""

    network: NetworkFile
    file: Path
    """The network.json."""
    folder: Path
    own: bool
    """Whether the network was made here, with a buyer of its own."""

    wallets: Path
    """The folder of keys."""
    transactions: Path
    """The journal of the wallet's transactions, shared by every program that uses the wallet."""

    @property
    def wallet(self) -> str:
        """The name of the usual wallet's key."""
        return OWN_WALLET if self.own else USER_WALLET

    @property
    def journal(self) -> Path:
        """The buyer's journal."""
        return self.folder / "buyer.db"

    @property
    def payments(self) -> Path:
        """What the ledger was seen to pay to operators."""
        return self.folder / "payments.db"

    @property
    def leases(self) -> Path:
        """Which process uses which channel, and works on which job."""
        return self.folder / "leases"

    @property
    def contents(self) -> Path:
        """Bundles and images of jobs, by SHA-256."""
        return self.folder / "contents"

    def check_running(self) -> None:
        """Raise `Unavailable` at once for a network of a `surge up` that was stopped, instead of waiting for its ledger."""
        folder = self.file.parent
        if self.own and (folder / "plan.json").is_file() and not _is_up(folder) and not any(map(_listens, self.network.rpc)):
            raise Unavailable(f"the network in {folder} does not run: `surge up --data {folder}` starts it again", path=str(folder))

    def keystore(self) -> Keystore:
        """The keys: the wallet's, and one for each channel."""
        return Keystore(self.wallets)

    def key(self, name: str | None = None) -> KeySigner:
        """The key of this name, of `$SURGE_WALLET`, or the wallet's: of the network's own keys, or of the user's, which serve everywhere.

        Raises `InvalidInput` if neither has it, or its passphrase is not that in `$SURGE_PASSPHRASE`.
        """
        named, own = name or os.environ.get("SURGE_WALLET") or self.wallet, self.keystore()
        return (own if own.has(named) else user_keystore()).load(named, os.environ.get("SURGE_PASSPHRASE"))

    def of(self, wallet: Address) -> Home:
        """The place of a wallet's channels and jobs: the network's folder for the usual wallet, one of its own for every other."""
        usual = self.keys().get(self.wallet)
        return self if usual is not None and usual[0] == wallet else replace(self, folder=self.folder / "wallets" / wallet)

    def keys(self) -> dict[str, tuple[Address, Path]]:
        """Every key that `key` finds by its name, with its address and its folder; the network's own come first."""
        found: dict[str, tuple[Address, Path]] = {}
        for each in (self.keystore(), user_keystore()):
            for name, of in each.list().items():
                if not name.startswith(SESSION_KEYS):
                    found.setdefault(name, (of, each.folder))
        return found

    def own_operators(self) -> frozenset[Address]:
        """Operators whose keys are on this machine: those of a network that was made here, and whoever lends this device."""
        folders = [user_folder() / "provider" / "wallet", self.wallets]
        if self.own:
            folders += (self.file.parent / "providers").glob("*/wallet")
        stores = [Keystore(folder) for folder in folders if folder.is_dir()]
        return frozenset(store.address("operator") for store in stores if store.has("operator"))


def user_folder() -> Path:
    """Where this user's Surge state lies: `$SURGE_HOME`, or the XDG data folder."""
    chosen = os.environ.get("SURGE_HOME")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "surge"


def user_keystore() -> Keystore:
    """The user's keys, where `surge wallet new` makes them."""
    return Keystore(user_folder() / "wallet")


def cache_folder() -> Path:
    """Where compiled code and snapshots lie, for every program of this user: `$SURGE_CACHE`, or the XDG cache folder."""
    chosen = os.environ.get("SURGE_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "surge"


def running_folder() -> Path:
    """The folder in which every `surge up` that runs has a file of its own, which says where its network lies."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "surge" / "running"


def is_alive(pid: int, created: float) -> bool:
    """Whether the process with this id, created at this time in Unix seconds, still runs."""
    import psutil

    try:
        return bool(abs(psutil.Process(pid).create_time() - created) < 1.0)
    except psutil.NoSuchProcess:
        return False


def _is_up(folder: Path) -> bool:
    """Whether the `surge up` of a folder runs: it writes down its own process first."""
    try:
        first = parse_json((folder / "processes.json").read_bytes())[0]
        return is_alive(int(first["pid"]), float(first["started"]))
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _listens(url: str) -> bool:
    """Whether something takes connections at an endpoint."""
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), LISTENS_SECONDS):
            return True
    except OSError:
        return False


def running_network() -> Path | None:
    """The network of the newest `surge up` that runs; without one, of the newest that was killed before it could say that it stopped."""
    found = [entry for entry in _running() if entry[2].is_file()]
    return max(found)[2] if found else None


def _running() -> list[tuple[bool, float, Path]]:
    """What says that it runs or starts: whether it does, since when, and its network.json, which is not there before it is founded."""
    found = []
    for path in running_folder().glob("*.json"):
        with contextlib.suppress(FileNotFoundError):  # it stopped meanwhile
            try:
                entry = parse_json(path.read_bytes())
                network, pid, created, since = Path(entry["network"]), int(entry["pid"]), float(entry["created"]), float(entry["since"])
            except (ValueError, KeyError, TypeError) as error:
                raise InvalidInput(f"{path} is damaged: delete it, or name a network", path=str(path)) from error
            found.append((is_alive(pid, created), since, network))
    return found


def network_meant(named: str | Path | None = None) -> Path | None:
    """As `find_network`, but None where none is named and none runs."""
    if named or (named := os.environ.get("SURGE_NETWORK")):
        path = Path(named).expanduser()
        path = path / "network.json" if path.is_dir() else path
        if not path.is_file():
            raise InvalidInput(f"there is no network file {path}: start one with `surge up`, or name another", path=str(path))
        return path
    here = Path("network.json")
    return here if here.is_file() else running_network()


def find_network(named: str | Path | None = None) -> Path:
    """The network.json meant: the one named, `$SURGE_NETWORK`, `./network.json`, or the running `surge up`'s."""
    path = network_meant(named)
    if path is None and (starting := [network for alive, _, network in _running() if alive]):
        raise InvalidInput(
            f"a network is starting in {starting[0].parent}: `surge up` prints `network ready` when it can be used, the first time after "
            "the minute or two that compiling Python takes"
        )
    if path is None:
        raise InvalidInput(
            "no network to join: start one with `surge up`, or name one with --network, $SURGE_NETWORK or surge.connect(path), "
            "or put network.json here"
        )
    return path


def find_home(network: str | Path | None = None, home: str | Path | None = None) -> Home:
    """The buyer's place for the network meant. Raises `InvalidInput`."""
    file = find_network(network).resolve()
    try:
        described = decode_network(file.read_bytes())
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}", path=str(file)) from error
    beside = file.parent / OWN_FOLDER
    own = described.kind == "embedded" and (beside / "wallet" / f"{OWN_WALLET}.json").is_file()
    if home is not None:
        folder = base = Path(home).expanduser()
    elif own:
        folder = base = beside
    else:
        base = user_folder()
        folder = base / described.network_id.hex()[:8]
    return Home(described, file, folder, own, base / "wallet", base / "transactions.db")
