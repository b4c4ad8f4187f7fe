"""What the bytes of a put take of the processors at least, whatever brings them: every step that touches a byte, and nothing else.

Sealed, coded, checked, masked and hashed by who puts; sealed once more for the way, through the system's loopback, and opened; hashed again
and written by who keeps. No deal, receipt, journal, message or session is in it.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from typing import BinaryIO

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from surge.core.messages.storage import MOST_LEAVES
from surge.core.storage.layout import FRAGMENT
from surge.core.storage.masks import Check, Mask
from surge.core.storage.tree import leaf_hashes
from surge.storage.erasure import code_of

PIECE = MOST_LEAVES * FRAGMENT
"""Bytes of shards in a message."""

TAG = 16


def processor_seconds(size: int, k: int, n: int) -> float:
    """Processor time, the system's included, for `size` bytes of plaintext as k of n."""
    stripes = size // (k * FRAGMENT)
    pieces = stripes * n // MOST_LEAVES
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.TemporaryFile(buffering=0) as file:
        way = socket.create_connection(server.getsockname())
        keeper, _ = server.accept()
        with way, keeper:
            began = time.process_time()
            taking = threading.Thread(target=_keep, args=(keeper, file, pieces))
            taking.start()
            _put(way, stripes, pieces, k, n)
            taking.join()
            return time.process_time() - began


def _put(way: socket.socket, stripes: int, pieces: int, k: int, n: int) -> None:
    stripe, key, code = os.urandom(k * FRAGMENT), AESGCM(bytes(32)), code_of(k, n)
    masks = [Mask(bytes([index]) * 32).stream() for index in range(n)]
    checks = [Check(bytes(32), bytes(32), 0, index) for index in range(n)]
    piece, at, sent = memoryview(bytearray(PIECE + TAG)), 0, 0
    for number in range(stripes):
        sealed = key.encrypt(number.to_bytes(12, "big"), stripe, None)[:-TAG]
        for index, fragment in enumerate(code.encode(sealed)):
            masked = piece[at : at + FRAGMENT]
            checks[index].update(fragment)
            masks[index].update_into(fragment, masked)
            leaf_hashes(masked)
            at += FRAGMENT
            if at == PIECE:
                at = 0
                if sent < pieces:
                    key.encrypt_into(sent.to_bytes(12, "big"), piece[:-TAG], None, piece)
                    way.sendall(piece)
                    sent += 1


def _keep(way: socket.socket, file: BinaryIO, pieces: int) -> None:
    key, piece = AESGCM(bytes(32)), memoryview(bytearray(PIECE + TAG))
    for number in range(pieces):
        at = 0
        while at < len(piece):
            at += way.recv_into(piece[at:])
        key.decrypt_into(number.to_bytes(12, "big"), piece, None, piece[:-TAG])
        leaf_hashes(piece[:-TAG])
        file.write(piece[:-TAG])
    os.fsync(file.fileno())
