"""Discord's end-to-end encryption with its real keys: what its voice gateway does, in small.

Two sessions of `davey` become one MLS group (RFC 9420): an external sender, which is the
gateway, proposes to add the one, and the other commits to that (daveprotocol.com).
"""

from __future__ import annotations

import struct
from typing import Any

import davey
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["sessions"]

_CHANNEL = 999


def sessions(bot: int, *others: int) -> tuple[Any, ...]:
    """Sessions of the bot and the others that have each other's keys."""
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    sender = _vector(point) + struct.pack(">H", 1) + _vector(bytes(8))  # a basic credential
    made = [davey.DaveSession(1, user, _CHANNEL) for user in (bot, *others)]
    packages = []
    for session in made:
        session.set_external_sender(sender)
        packages.append(session.get_serialized_key_package())
    proposals = b"".join(_add(package, key) for package in packages[1:])
    answer = made[0].process_proposals(
        davey.ProposalsOperationType.append, _vector(proposals), [bot, *others]
    )
    assert answer is not None
    assert answer.welcome is not None
    made[0].process_commit(answer.commit)
    for session in made[1:]:
        session.process_welcome(answer.welcome)
    return tuple(made)


def _add(key_package: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A public message of an external sender (RFC 9420, 6.1): add the owner of this package."""
    content = b"".join(
        (
            _vector(struct.pack(">Q", _CHANNEL)),
            struct.pack(">Q", 0),  # epoch
            struct.pack(">BI", 2, 0),  # an external sender, the first
            _vector(b""),
            struct.pack(">BH", 2, 1),  # a proposal, to add
            key_package,
        )
    )
    message = struct.pack(">HH", 1, 1) + content
    signed = _vector(b"MLS 1.0 FramedContentTBS") + _vector(message)
    return message + _vector(key.sign(signed, ec.ECDSA(hashes.SHA256())))


def _vector(data: bytes) -> bytes:
    """With its length in front (RFC 9420, 2.1.2)."""
    if len(data) < 1 << 6:
        return bytes([len(data)]) + data
    if len(data) < 1 << 14:
        return struct.pack(">H", 1 << 14 | len(data)) + data
    return struct.pack(">I", 1 << 31 | len(data)) + data
