"""A keeper that is killed in the middle goes on where it was, and pays nothing twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import surge
from keeping_support import CODE, MIB, deals, eventually, shard_file, town_of
from network_support import Town
from surge.core.storage import accounts
from surge.storage.journal import OPENING
from surge.wallet import Keystore

KILLED = """
import os, signal, sys
import surge
from surge.storage.{module} import {owner}

left, before = [{after}], {owner}.{method}

async def killed(*args, **kwargs):
    left[0] -= {about!r} in ("", *args)
    if left[0] >= 0:
        return await before(*args, **kwargs)
    if {about!r}:
        await before(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)

{owner}.{method} = killed
with surge.connect(sys.argv[1]) as network:
    network.files.{what}()
"""


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    with town_of(tmp_path / "town") as town:
        yield town


def kill(town: Town, what: str, *, at: str, after: int = 0, about: str = "") -> None:
    """Do this in another process, which is killed at a method's next call after so many; behind that, if it is `about` something."""
    module, owner, method = at.split(".")
    code = KILLED.format(module=module, owner=owner, method=method, after=after, what=what, about=about)
    ended = subprocess.run([sys.executable, "-c", code, str(town.file)], timeout=100, check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()


def earned(town: Town) -> int:
    return sum(device.storage.tolls.earned for device in town.devices if device.storage)


@pytest.mark.parametrize(
    "at", ["holder.Holder._ask", "keeper_paying.Paying._keep", "journal.FilesJournal.put_deals", "keeper_journal.KeeperJournal.settle"]
)
def test_a_period_is_paid_once(town: Town, at: str) -> None:
    with surge.connect(town.file) as network:
        network.files.put(random.Random(1).randbytes(MIB), "once", code=CODE, segment_size=MIB)
        before = {row.id: row for row in deals(network, "once")}
    began = earned(town)
    kill(town, "audit", at=at, after=1, about="renew" if at == "holder.Holder._ask" else "")
    killed = time.time()
    eventually(lambda: time.time() > killed + 2)  # a period that is asked anew has other times
    with surge.connect(town.file) as network:
        for _ in range(2):
            audits = network.files.audit()
            assert all("not paid" not in each.why for each in audits), audits
        rows = deals(network, "once")
    held = [(row, row.paid - before[row.id].paid) for row in rows]
    exact = [accounts.amount(row.price, row.size, seconds) for row, seconds in held]
    assert 0 <= earned(town) - began - sum(exact) <= 3 * len(rows), "each period is rounded up, and no second is paid twice"
    assert all(row.signature != before[row.id].signature for row in rows)


@pytest.mark.parametrize(
    ("at", "after"),
    [("holder.Holder.write", 2), ("holder.Holder.keep", 0), ("keeper_repair.Repairing._give_up", 0), ("notes.Notes.leave", 1)],
)
def test_a_repair_goes_on(town: Town, at: str, after: int) -> None:
    data = random.Random(2).randbytes(5 * MIB)
    with surge.connect(town.file) as network:
        network.files.put(data, "mended", code=CODE, segment_size=8 * MIB)
        victim = deals(network, "mended")[1]
        shard_file(town, victim).unlink()
        network.files.audit()
    kill(town, "repair", at=at, after=after)
    with surge.connect(town.file) as network:
        begun = {row.id: row for row in deals(network, "mended", OPENING)}
        kept = {row.id: row for row in deals(network, "mended") if row.shard == victim.shard}
        (row,) = [*begun.values(), *kept.values()]
        network.files.repair()
        (mended,) = [each for each in deals(network, "mended") if each.shard == victim.shard]
        assert (mended.id, mended.root, mended.digest) == (row.id, row.root, victim.digest), "the same deal is gone on with"
        assert network.files.repair() == []
        assert network.files.read("mended") == data
        paid = network._background.call(network._client.journal.read("SELECT paid FROM intents WHERE subject = ?", (row.root,)))
        assert paid == [(1,)], "its way is paid once"
    buyer = Keystore(town.folder / "buyer" / "wallet").load("buyer")
    with surge.connect(town.file, home=town.folder / "elsewhere", wallet=buyer) as reader:
        assert reader.files.read("mended") == data, "the map is written"
