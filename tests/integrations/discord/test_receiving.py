"""Packets of an extension on their way to the bridge; ``test_over_discord`` has real ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("realtime_stts.integrations.discord", exc_type=ImportError)
pytest.importorskip("cryptography")

import discord

from realtime_stts import AudioData
from realtime_stts.errors import MissingExtraError
from realtime_stts.integrations.discord import Receiver, VoiceBridge, start_receiving
from realtime_stts.testing import speak_tones, tone_text
from tests.fake_discord import ears

from .dave import sessions
from .people import RATE, frames

BOT, ANN, EVE = 10, 1, 3
SSRC = {100: ANN, 300: EVE}


@pytest.fixture(autouse=True)
def extension() -> Iterator[None]:
    with ears():
        yield


class Packet(SimpleNamespace):
    """Of the extension; a lost one is false."""

    decrypted_data: bytes

    def __bool__(self) -> bool:
        return bool(self.decrypted_data)


@dataclass
class Client:
    """A voice client that receives when the test says so."""

    dave_session: Any = None
    sink: Any = None
    _connection: Any = field(init=False)

    def __post_init__(self) -> None:
        self._connection = SimpleNamespace(dave_session=self.dave_session)

    def listen(self, sink: Any) -> None:
        if self.sink is not None:
            raise discord.ClientException("Already receiving audio.")
        self.sink = sink

    def is_listening(self) -> bool:
        return self.sink is not None

    def stop_listening(self) -> None:
        sink, self.sink = self.sink, None
        sink.cleanup()

    def _get_id_from_ssrc(self, ssrc: int) -> int | None:
        return SSRC.get(ssrc)

    def receive(self, opus: bytes, *, ssrc: int = 100, user: Any = None) -> None:
        self.sink.write(user, SimpleNamespace(packet=Packet(ssrc=ssrc, decrypted_data=opus)))


class Bridge(VoiceBridge):
    """Notes what is written for whom."""

    def __init__(self, *allowed: int) -> None:
        super().__init__()
        self.written: list[tuple[int, bytes]] = []
        for user in allowed:
            self.allow(user)

    def write(self, user_id: int, pcm: bytes) -> None:
        super().write(user_id, pcm)
        self.written.append((user_id, pcm))

    def text(self) -> str:
        pcm = b"".join(pcm for _, pcm in self.written)
        return tone_text(AudioData(pcm, RATE, 2).mono())


def start(client: Client, bridge: Bridge) -> Receiver:
    return start_receiving(client, bridge)  # type: ignore[arg-type]


def coded(text: str) -> list[bytes]:
    encoder: Any = discord.opus.Encoder()
    return [encoder.encode(frame, 960) for frame in frames(speak_tones(text, RATE))]


def test_opus_is_decoded_for_the_person_whose_packets_these_are() -> None:
    client, bridge = Client(), Bridge(ANN)
    receiver = start(client, bridge)
    assert client.sink.wants_opus()
    for opus in coded("by the ssrc"):
        client.receive(opus)
    assert bridge.text() == "by the ssrc"
    bridge.written.clear()
    for opus in coded("by the member"):
        client.receive(opus, ssrc=999, user=discord.Object(ANN))
    assert bridge.text() == "by the member"
    assert {len(pcm) for _, pcm in bridge.written} == {3840}
    assert receiver.undecoded == 0


def test_packets_of_nobody_known_are_dropped() -> None:
    client, bridge = Client(), Bridge(ANN)
    start(client, bridge)
    client.receive(coded("a")[0], ssrc=999)
    assert bridge.written == []


def test_who_did_not_agree_is_not_even_decoded() -> None:
    client, bridge = Client(), Bridge(ANN)
    receiver = start(client, bridge)
    client.receive(b"\xff" * 50, ssrc=300)
    assert bridge.written == [(EVE, b"")]
    assert bridge.refused == 1
    assert receiver.undecoded == 0


def test_a_lost_packet_is_concealed() -> None:
    client, bridge = Client(), Bridge(ANN)
    start(client, bridge)
    packets = coded("a long enough text")
    for opus in packets[:10]:
        client.receive(opus)
    client.receive(b"")
    pcm = np.frombuffer(bridge.written[-1][1], "<i2")
    assert len(pcm) == 2 * 960
    assert pcm.any()


def test_what_is_not_opus_is_counted_and_what_follows_is_heard() -> None:
    client, bridge = Client(), Bridge(ANN)
    receiver = start(client, bridge)
    client.receive(b"\xff" * 50)
    assert receiver.undecoded == 1
    for opus in coded("hello"):
        client.receive(opus)
    assert bridge.text() == "hello"


def test_end_to_end_encryption_is_taken_off_with_the_keys_of_the_call() -> None:
    bot, ann = sessions(BOT, ANN)
    client, bridge = Client(bot), Bridge(ANN, EVE)
    receiver = start(client, bridge)
    for opus in coded("secret"):
        client.receive(ann.encrypt_opus(opus))
    assert bridge.text() == "secret"
    client.receive(b"a frame that nobody encrypted\xfa\xfa")
    client.receive(ann.encrypt_opus(coded("a")[0]), ssrc=300)  # not hers: no key fits
    assert receiver.undecrypted == 2
    assert len(bridge.written) == len(coded("secret"))


def test_what_an_extension_has_decrypted_itself_is_taken_as_it_is() -> None:
    bot, _ = sessions(BOT, ANN)
    client, bridge = Client(bot), Bridge(ANN)
    receiver = start(client, bridge)
    for opus in coded("plain"):
        client.receive(opus)
    assert bridge.text() == "plain"
    assert receiver.undecrypted == 0


def test_after_its_end_nothing_is_heard() -> None:
    client, bridge = Client(), Bridge(ANN)
    receiver = start(client, bridge)
    assert receiver.is_receiving
    sink = client.sink
    receiver.close()
    receiver.close()
    assert not receiver.is_receiving
    sink.write(None, SimpleNamespace(packet=Packet(ssrc=100, decrypted_data=coded("a")[0])))
    assert bridge.written == []


def test_an_extension_that_stops_by_itself_is_noticed() -> None:
    client = Client()
    receiver = start(client, Bridge())
    client.stop_listening()
    assert not receiver.is_receiving
    receiver.close()


def test_who_receives_already_is_told_so_by_the_extension() -> None:
    client = Client()
    start(client, Bridge())
    with pytest.raises(discord.ClientException, match="Already receiving"):
        start(client, Bridge())


def test_what_is_missing_is_said() -> None:
    with pytest.raises(MissingExtraError, match="VoiceRecvClient"):
        start_receiving(object(), Bridge())  # type: ignore[arg-type]
