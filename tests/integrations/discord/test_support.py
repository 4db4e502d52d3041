"""What is missing to hear a voice channel is said exactly, with what installs it."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("realtime_stts.integrations.discord", exc_type=ImportError)

import discord

from realtime_stts.errors import MissingExtraError
from realtime_stts.integrations._discord import _support
from realtime_stts.integrations.discord import receive_support
from tests.fake_discord import ears


def test_without_the_extension_it_says_which_one_and_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "discord.ext.voice_recv", None)
    support = receive_support()
    assert not support
    assert not support.available
    assert "discord.ext.voice_recv" in support.reason
    assert "pip install discord-ext-voice-recv==0.5.2a179" in support.reason
    assert support.versions["discord.py"] == discord.__version__
    assert set(support.versions) == {"discord.py", "davey", "PyNaCl", "discord-ext-voice-recv"}


def test_with_everything_there_it_is_available() -> None:
    with ears():
        support = receive_support()
    assert support
    assert support.reason == ""


def test_an_extension_without_what_is_used_of_it_is_not_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "discord.ext.voice_recv", ModuleType("voice_recv"))
    assert "has no AudioSink and no VoiceRecvClient" in receive_support().reason


def test_an_old_discord_py_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discord, "__version__", "2.6.4")
    with ears():
        support = receive_support()
    assert support.reason.startswith("discord.py is 2.6.4, and 2.7 or later is needed")


@pytest.mark.parametrize(
    ("module", "reason"),
    [(None, "davey is not installed"), (ModuleType("davey"), "cannot decrypt")],
)
def test_davey_must_be_there_and_decrypt(
    module: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "davey", module)
    with ears():
        assert reason in receive_support().reason


def test_libopus_must_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise discord.opus.OpusNotLoaded

    monkeypatch.setattr(discord.opus.Decoder, "get_opus_version", missing)
    with ears():
        assert "libopus is not found" in receive_support().reason


def test_a_client_that_does_not_receive_is_named_with_one_that_does() -> None:
    client: Any = SimpleNamespace(_connection=SimpleNamespace(dave_session=None))
    with ears():
        reason = receive_support(client).reason
    assert reason.startswith("a SimpleNamespace does not receive: connect with channel.connect(cls")


def test_the_place_of_the_keys_is_looked_for() -> None:
    client: Any = SimpleNamespace(listen=print, _connection=object())
    with ears():
        assert "no voice_client._connection.dave_session" in receive_support(client).reason


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert _support._version("there-is-no-such-package") is None


def test_without_discord_py_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "realtime_stts.integrations.discord"
    monkeypatch.setitem(sys.modules, "discord", None)
    monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r"realtime-stts\[discord\]"):
        importlib.import_module(name)
