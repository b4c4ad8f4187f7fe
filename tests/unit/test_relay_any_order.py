"""Whatever a relay does to a session's frames, what is received is the beginning of what was sent."""

from __future__ import annotations

import asyncio
import contextlib
import os

from hypothesis import given, settings
from hypothesis import strategies as st

from relay_support import BUYER, DEVICE
from surge.errors import PeerFault
from surge.relay.client.frames import LostFrame, Opener, unpack
from surge.relay.client.session import Session

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 3000)),
        st.tuples(st.just("frame"), st.just(0)),
        st.tuples(st.just("deliver"), st.integers(0, 5)),
        st.tuples(st.just("replay"), st.integers(0, 5)),
        st.tuples(st.just("drop"), st.integers(0, 5)),
        st.tuples(st.just("flip"), st.integers(0, 4000)),
    ),
    max_size=60,
)


def end(peer: str, keys: tuple[bytes, bytes]) -> Session:
    return Session(
        peer=peer,  # type: ignore[arg-type]
        login=peer,  # type: ignore[arg-type]
        token="0" * 16,
        relay="nats://nowhere",
        context=b"",
        keys=keys,
        wake=lambda session: None,
        forget=lambda session: None,
    )


@settings(max_examples=200, deadline=None)
@given(ACTIONS)
def test_what_is_received_is_a_beginning_of_what_was_sent(actions: list[tuple[str, int]]) -> None:
    asyncio.run(play(actions))


async def play(actions: list[tuple[str, int]]) -> None:
    keys = os.urandom(32), os.urandom(32)
    sender, receiver = end(DEVICE.address, keys), end(BUYER.address, keys[::-1])
    sent: list[bytes] = []
    flying: list[bytes] = []
    landed: list[bytes] = []
    harmed = False
    for action, number in actions:
        if action == "send":
            sent.append(os.urandom(number))
            await sender.send(sent[-1])
        elif action == "frame":
            frame = sender.next_frame()
            if frame is not None:
                flying.append(frame)
        elif action == "replay" and landed:
            receiver.take_frame(landed[number % len(landed)])
        elif flying:
            frame = flying.pop(number % len(flying) if action != "flip" else 0)
            if action == "deliver":
                landed.append(frame)
                receiver.take_frame(frame)
            elif action == "flip":
                harmed = True
                place = number % len(frame)
                receiver.take_frame(frame[:place] + bytes([frame[place] ^ 1]) + frame[place + 1 :])
            else:
                harmed = True
    received = list(receiver._incoming)
    assert received == sent[: len(received)]
    if not harmed and not flying and not sender.has_frame and receiver.is_open:
        assert received == sent


@given(st.binary(max_size=300))
def test_no_bytes_break_the_decoders(data: bytes) -> None:
    try:
        records = unpack(data)
    except PeerFault:
        pass
    else:
        assert sum(5 + len(body) for _, body in records) == len(data)
    with contextlib.suppress(PeerFault, LostFrame):
        raise AssertionError(Opener(bytes(32)).open(data))  # nobody knows the key
