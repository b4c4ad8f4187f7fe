"""The relay itself: `RelayServer` supervises a nats-server, decides who may log in, and keeps the offer board.

It never sees what sessions carry, holds no funds, and promises its clients only what they can check: offers it shows
are signed by their devices, and what it hides another relay shows. Its promises to its operator: nobody uses more of
it than `RelayLimits` says, and a nats-server that dies or freezes is started again.
"""

from surge.relay.server.config import RelayLimits, TlsFiles
from surge.relay.server.relay import RelayServer

__all__ = ["RelayLimits", "RelayServer", "TlsFiles"]
