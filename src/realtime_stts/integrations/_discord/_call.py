"""A conversation in a voice channel."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Any, Final, Literal

import anyio
import discord
from anyio.abc import TaskGroup
from typing_extensions import Self

from ...audio import AudioData
from ...conversation import (
    ConversationEngine,
    ReplyAudio,
    Session,
)
from ...errors import MissingExtraError, SessionClosedError
from ._bridge import RoomStream, SpeakerStream, VoiceBridge
from ._events import CallEnded, CallEndReason, CallEvent, EventQueue
from ._saying import spoken
from ._source import SpeechSource
from ._speaking import Speaking

__all__ = ["VoiceCall"]

_MAX_EVENTS: Final = 256
_LOOK: Final = 0.05  # s between two looks at whether the player still plays
_PATIENCE: Final = 2.0  # s for the player's thread to end

_User = int | discord.abc.Snowflake


class VoiceCall:
    """Sessions of one engine over one voice client; use it as ``async with``.

    Entering starts to play; leaving stops that, and what is said or heard, and disconnects
    nobody. It neither connects nor reconnects: discord.py does, and while it does, the sound
    waits. Where the client is gone for good, or somebody else stops its playing, the call is
    over: its sessions end, and the last event is `CallEnded`.

    Nobody is heard until `allow`. What a person says must be written to `bridge`, by
    `start_receiving` or a receiver of your own.

    ``each``: every person who was allowed has a conversation of their own, which begins with
    their first sound, and ends when they are forgotten. ``room``: all of them are heard as
    one. In either case one answer is heard at a time: one that is ready while another, or
    `say`, is being heard waits its turn, and the next events of its session with it. Whoever
    speaks over an answer stops it, within a frame of their session's noticing, and only the
    answer to themselves.

    Iterate it for what happens: all events of all sessions but the sound, as `CallEvent`.
    Of those nobody reads, the latest 256 are kept, and the others counted.

    Args:
        engine: Its STT engine is needed only to `allow` somebody.
        voice_client: Connected, and not playing anything.
        sessions: ``each`` or ``room``.
        bridge: Where sound comes from; by default a new one.
        language: Of all sessions, instead of the engine's.
        voice_config: Of all that is said; its keys go over the engine's.
        playout_lead: Seconds of an answer that may wait to be played, which cover what the
            event loop is late by. An interruption is not the later for it.

    Raises:
        ValueError: There are no such ``sessions``, or ``playout_lead`` is not 0.04 to 5.
        discord.ClientException: On entering, the client is not connected, or plays already.
        MissingExtraError: On entering, there is no libopus.
    """

    def __init__(
        self,
        engine: ConversationEngine,
        voice_client: discord.VoiceClient,
        *,
        sessions: Literal["each", "room"] = "each",
        bridge: VoiceBridge | None = None,
        language: str | None = None,
        voice_config: Mapping[str, Any] | None = None,
        playout_lead: float = 0.2,
    ) -> None:
        if sessions not in ("each", "room"):
            raise ValueError(f"sessions are 'each' or 'room', not {sessions!r}")
        if not 0.04 <= playout_lead <= 5.0:
            raise ValueError(f"the lead is 0.04 to 5 seconds, not {playout_lead!r}")
        self.bridge = VoiceBridge(clock=time.monotonic) if bridge is None else bridge
        self.source = SpeechSource()
        self._engine, self._voice_client = engine, voice_client
        self._in_room = sessions == "room"
        self._language, self._voice_config = language, voice_config
        self._playout_lead = playout_lead
        self._events = EventQueue(_MAX_EVENTS)
        self._floor = anyio.Lock()  # of whoever is being heard
        self._sessions: dict[int | None, Session] = {}
        self._scopes: dict[int | None, anyio.CancelScope] = {}
        self._sayings: set[anyio.CancelScope] = set()
        self._tasks: TaskGroup | None = None
        self._ended = False

    async def __aenter__(self) -> Self:
        try:
            self._voice_client.play(self.source, application="voip", signal_type="voice")
        except discord.opus.OpusNotLoaded as exc:
            raise MissingExtraError(
                "Speaking in Discord",
                "discord",
                remedy="install the library libopus (Debian: apt install libopus0; macOS: "
                "brew install opus), or name its file to discord.opus.load_opus",
            ) from exc
        self._tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(self._watch)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._tasks is not None
        self._end("closed")
        self._tasks.cancel_scope.cancel()
        try:
            if isinstance(exc, Exception):  # the host's own, which leaves the block as it is
                await self._tasks.__aexit__(None, None, None)
                return None
            return await self._tasks.__aexit__(exc_type, exc, traceback)
        finally:
            await self._stop_playing()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CallEvent:
        return await self._events.next()

    # -- who is heard

    def allow(self, user: _User) -> None:
        """This person agreed to be heard, and is from now on.

        Raises:
            ValueError: The engine has no STT or no TTS engine.
            OverloadedError: As many as the bridge allows are heard already.
            SessionClosedError: The call is over.
        """
        tasks = self._open()
        self._new_session()  # which says what is missing
        user_id = _id(user)
        self.bridge.allow(user_id)
        key = None if self._in_room else user_id
        if key not in self._scopes:
            scope = self._scopes[key] = anyio.CancelScope()
            tasks.start_soon(self._serve, key, scope)

    def forget(self, user: _User) -> None:
        """This person is not to be heard any more: they left, or do not agree any more.

        Their own session is over at once, with what is being said to them. What a whole
        room has understood stays in its history.
        """
        user_id = _id(user)
        self.bridge.forget(user_id)
        scope = self._scopes.pop(user_id, None)
        if scope is not None:
            scope.cancel()

    def session_of(self, user: _User | None) -> Session | None:
        """This person's session, while they have one; None stands for the room."""
        return self._sessions.get(None if user is None else _id(user))

    @property
    def dropped_events(self) -> int:
        """How many events nobody has read in time."""
        return self._events.n_dropped

    # -- what is heard of the bot

    async def say(self, text: str) -> bool:
        """Say this, once nothing else is being said; return when it has been played.

        Whoever speaks meanwhile is heard, and does not interrupt it. Cancelled, it stops at
        once.

        Returns:
            Whether it was played to its end: `interrupt` stops it.

        Raises:
            ValueError: The engine has no TTS engine.
            EngineError: It failed; what it made before has been played.
            SessionClosedError: The call is over.
        """
        self._open()
        if self._engine.tts_engine is None:
            raise ValueError("the conversation has no TTS engine: give it one first")
        whole = False
        with anyio.CancelScope() as scope:
            self._sayings.add(scope)
            try:
                async with self._floor:
                    try:
                        await self._speak(text)
                        whole = True
                    finally:
                        if not whole:
                            self.source.flush()
            except anyio.ClosedResourceError:
                raise SessionClosedError("the call is over") from None
            finally:
                self._sayings.discard(scope)
        return whole

    async def interrupt(self) -> None:
        """Stop all that is being said, and all answers under way."""
        for scope in self._sayings:
            scope.cancel()
        for session in [*self._sessions.values()]:
            await session.interrupt()

    async def _speak(self, text: str) -> None:
        try:
            async with aclosing(spoken(self._engine, text, self._voice_config)) as sounds:
                async for audio in sounds:
                    await self.source.write(audio)
        finally:
            await self.source.drain()

    # -- the conversations

    def _new_session(self) -> Session:
        return self._engine.session(
            language=self._language,
            voice_config=self._voice_config,
            playout_lead=self._playout_lead,
        )

    async def _serve(self, key: int | None, scope: anyio.CancelScope) -> None:
        with scope:
            stream = self.bridge.room() if key is None else self.bridge.speaker(key)
            async for first in stream:
                if first.data.strip(b"\0"):  # one that has ended begins anew with a sound
                    await self._converse(key, _from(first, stream))
        if self._scopes.get(key) is scope:
            del self._scopes[key]

    async def _converse(self, key: int | None, sound: AsyncGenerator[AudioData]) -> None:
        speaking = Speaking(self._floor, self.source)
        async with self._new_session() as session, anyio.create_task_group() as tasks:
            self._sessions[key] = session
            try:
                tasks.start_soon(_feed, session, sound)
                async for event in session:
                    if isinstance(event, ReplyAudio):
                        await speaking.play(event)
                    else:
                        self._events.post(CallEvent(key, event))
                        await speaking.follow(event)
                tasks.cancel_scope.cancel()
            finally:
                speaking.stop()
                self._sessions.pop(key, None)

    # -- its life

    def _open(self) -> TaskGroup:
        if self._tasks is None or self._ended:
            raise SessionClosedError("the call is over, or has not begun")
        return self._tasks

    async def _watch(self) -> None:
        while not self.source.is_over:  # noqa: ASYNC110 - a thread of discord.py ends it
            await anyio.sleep(_LOOK)
        self._end("disconnected")

    def _end(self, reason: CallEndReason) -> None:
        if self._ended:
            return
        self._ended = True
        self.bridge.close()
        for scope in [*self._scopes.values(), *self._sayings]:
            scope.cancel()
        self._events.post(CallEvent(None, CallEnded(reason)))
        self._events.end()

    async def _stop_playing(self) -> None:
        self.source.flush()
        self.source.close()
        if self._voice_client.source is self.source:
            # With a client that also receives, ``stop`` would end that too.
            getattr(self._voice_client, "stop_playing", self._voice_client.stop)()
        with anyio.move_on_after(_PATIENCE, shield=True):
            # It may be waiting for a lost connection; then it ends by itself.
            while not self.source.is_over:  # noqa: ASYNC110
                await anyio.sleep(0.01)


def _id(user: _User) -> int:
    return user if isinstance(user, int) else user.id


async def _from(first: AudioData, rest: SpeakerStream | RoomStream) -> AsyncGenerator[AudioData]:
    yield first
    async for audio in rest:
        yield audio


async def _feed(session: Session, sound: AsyncGenerator[AudioData]) -> None:
    with suppress(SessionClosedError):  # it came to a limit of its own
        await session.feed(sound)
