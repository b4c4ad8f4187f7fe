"""Using relays: `Relays` keeps connections to several, publishes and finds offers, opens and accepts sessions.

    async with await Relays.connect(network.relays, key, network=network.network_id) as relays:
        offers = await relays.offers(OfferQuery(service="compute"))
        async with await relays.dial(device, identity=session_key, context=terms) as session:
            await session.send(b"...")
            answer = await session.receive()

Relays are strangers: they may drop, delay, replay and invent. What they do shows as an offer that does not verify or
a session that ends with an error, never as wrong data. The room keeps no state on disk and retries no message: when a
session is lost the application dials again and takes up where both sides' records say.
"""

from surge.relay.board import OfferQuery
from surge.relay.client.frames import MAX_MESSAGE
from surge.relay.client.relays import Relays
from surge.relay.client.session import Session

__all__ = ["MAX_MESSAGE", "OfferQuery", "Relays", "Session"]
