"""Renewals by strangers who know a deal's id, as readers and devices that read by permit do, and by keepers who come in the last moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holder_support import DOMAIN, PERIOD, Holder, Shard, seed
from surge.core.messages import storage as m
from surge.core.storage import deals
from surge.core.storage.accounts import HOUR_SECONDS


@pytest.fixture
def holder(tmp_path: Path) -> Holder:
    return Holder(tmp_path)


async def test_no_renewal_has_a_shard_dropped_sooner_than_it_was_to_stay(holder: Holder) -> None:
    shard = Shard.made()
    async with holder.running():
        user, stranger = await holder.user(), await holder.user(51)
        began = holder.now
        ends = began + 4 * HOUR_SECONDS
        await user.put(shard, began, until=ends)
        stays = began + 8 * HOUR_SECONDS
        for period, (later, pledged) in enumerate([(60, began + 70), (3 * HOUR_SECONDS, ends - 1), (HOUR_SECONDS - 70, ends + 1)]):
            holder.clock.now += later
            now = holder.now
            body, receipt = await stranger.owes("renew", m.Renew(period, began, now, pledged, [shard.deal]))
            shard.pledge(now, pledged).verify(DOMAIN, m.decode_renewed(body).signatures[0])
            await stranger.acknowledge(receipt)
        holder.clock.now = stays - 1
        await holder.storage.look(holder.now)
        assert shard.shows(seed(), (await user.shown(seed(), shard))[0]), "its holder pledged for it, and is slashed without it"
        holder.clock.now = stays + HOUR_SECONDS + 2
        await holder.storage.look(holder.now)
        assert await user.shown(seed(), shard) == [None]


async def test_a_shard_that_is_pledged_on_while_old_ones_are_dropped_stays(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    late, other = Shard.made(), Shard.made(seed=2)
    async with holder.running():
        user, began = await holder.user(), holder.now
        for shard in (late, other):
            await user.put(shard, began)
        holder.clock.now += PERIOD + HOUR_SECONDS + 1
        index, now = holder.storage.shelf.index, holder.now
        over = index.over(now)
        assert len(over) == 2
        await user.owes("renew", m.Renew(0, began, now, now + PERIOD, [late.deal]))
        monkeypatch.setattr(index, "over", lambda _: [*over, *over])  # it was looked at before, and takes its time
        await holder.storage.look(now)
        assert holder.storage.status()["shards"] == 1
        proof, none = await user.shown(seed(), late, other)
        assert late.shows(seed(), proof)
        assert none is None


async def test_no_pledge_is_given_for_what_was_dropped_meanwhile(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    here, gone = Shard.made(), Shard.made(seed=2)
    async with holder.running():
        user, began = await holder.user(), holder.now
        for shard in (here, gone):
            await user.put(shard, began)
        holder.clock.now += PERIOD
        renewed = deals.renewed

        def dropped(deal: deals.Deal, *times: int, **how: Any) -> Any:
            index._database.write_now(lambda connection: connection.execute("DELETE FROM deals WHERE id = ?", (gone.deal,)))
            return renewed(deal, *times, **how)

        index = holder.storage.shelf.index
        kept = {shard.deal: index.deal(shard.deal) for shard in (here, gone)}
        monkeypatch.setattr(deals, "renewed", dropped)
        monkeypatch.setattr(index, "deal", kept.get)
        both = m.Renew(0, began, holder.now, holder.now + PERIOD, [here.deal, gone.deal])
        await user.refused("renew", both, "missing", "just now")
        monkeypatch.undo()
        left = index.deal(here.deal)
        assert left is not None
        assert left.until == began + PERIOD, "all of them, or none"
