"""Visits: sessions without a channel, handed to the service that their context names."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from surge.core.messages import visited
from surge.errors import SurgeError
from surge.provider.outbox import Link
from surge.provider.service import Service, Visited

log = logging.getLogger("surge.provider")


async def received(link: Link, services: Mapping[str, Service]) -> bool:
    """Serve a session if it is a visit; False if it is none, and nothing was done.

    A visitor is a stranger until the service keeps its session, and has a stranger's place at the relay client until then.
    """
    name = visited(link.context)
    if name is None:
        return False
    service, reason = services.get(name), "done"
    try:
        if isinstance(service, Visited):
            await service.visit(link)
        else:
            reason = f"nobody is visited as {name[:64]!r} here"
    except SurgeError as error:
        reason = str(error)
        log.info("the visit of %s ends: %s", link.peer, error)
    finally:
        await link.close(reason)
    return True
