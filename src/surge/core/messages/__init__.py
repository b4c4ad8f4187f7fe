"""What buyer and provider say to each other inside a session.

A session (`surge.relay.client`) carries opaque messages in order between two authenticated parties. This room gives those
bytes their meaning: one decoder per direction, `decode_for_provider` and `decode_for_buyer`, takes untrusted bytes and
returns a typed, bounded value or raises `PeerFault`. Past the decoder nobody checks sizes or types again; what the values
*claim* (signatures, sums, roots) is judged by `core.channels`.

The services that a provider hosts have bodies of their own, carried opaquely in `Call` and `Answer`: `compute` defines those
of the compute service.
"""

from surge.core.messages.compute import (
    Prepare,
    Prepared,
    RunUnit,
    Setup,
    UnitDone,
    decode_prepare,
    decode_prepared,
    decode_run_unit,
    decode_setup,
    decode_unit_done,
    encode_body,
)
from surge.core.messages.envelope import MAX_ENVELOPE, MAX_SEALED, Envelope, decode_envelope, encode_envelope, inputs_info
from surge.core.messages.session import (
    VERSION,
    Acknowledge,
    Answer,
    Call,
    Cancel,
    ChannelOpened,
    Chunk,
    CloseChannel,
    ClosedTogether,
    Draining,
    NewPrices,
    OpenChannel,
    Output,
    Received,
    Refusal,
    Reprice,
    SignedReceipt,
    ToBuyer,
    ToProvider,
    Vouched,
    decode_for_buyer,
    decode_for_provider,
    encode,
)

__all__ = [
    "MAX_ENVELOPE",
    "MAX_SEALED",
    "VERSION",
    "Acknowledge",
    "Answer",
    "Call",
    "Cancel",
    "ChannelOpened",
    "Chunk",
    "CloseChannel",
    "ClosedTogether",
    "Draining",
    "Envelope",
    "NewPrices",
    "OpenChannel",
    "Output",
    "Prepare",
    "Prepared",
    "Received",
    "Refusal",
    "Reprice",
    "RunUnit",
    "Setup",
    "SignedReceipt",
    "ToBuyer",
    "ToProvider",
    "UnitDone",
    "Vouched",
    "decode_envelope",
    "decode_for_buyer",
    "decode_for_provider",
    "decode_prepare",
    "decode_prepared",
    "decode_run_unit",
    "decode_setup",
    "decode_unit_done",
    "encode",
    "encode_body",
    "encode_envelope",
    "inputs_info",
]
