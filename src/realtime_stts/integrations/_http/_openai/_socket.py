"""`/v1/realtime`: a conversation over OpenAI's Realtime API."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from copy import copy
from typing import Any, Final

import anyio
from fastapi import WebSocket
from starlette.exceptions import HTTPException

from ...._edge import streaming_responder
from ...._request import new_request_id
from ....audio import AudioData
from ....conversation import ConversationEngine, Session, SessionEnded
from ....errors import RealtimeSTTSError
from ....protocols import Exchange
from .._gate import Gate
from ._client import POLICY, RealtimeClient, show_key
from ._commands import (
    Append,
    Cancel,
    Clear,
    Command,
    Commit,
    Create,
    Update,
    event_id_of,
    message_of,
    parsed,
)
from ._config import RealtimeConfig, RealtimeRefusal, configured, initial, policy_of
from ._errors import problem_with
from ._realtime import RealtimeEvents
from ._responder import AskedResponder, Wordless
from ._speech import ResolveVoice, voice_of

__all__ = ["serve_realtime"]

_PROTOCOL: Final = "realtime"
_LEAD: Final = 0.25  # s that a sound leaves ahead of its time; what a network is late by
_PIECE: Final = 0.06  # s of it in a message, which costs more than its sound
_HELD_BACK: Final = 0.1  # s; more than a resampler does
_MAX_HISTORY: Final = 50  # exchanges that outlive a change of the session
_MAX_MODEL: Final = 200  # characters


async def serve_realtime(
    websocket: WebSocket,
    engine: ConversationEngine,
    gate: Gate | None = None,
    resolve_voice: ResolveVoice | None = None,
) -> None:
    """Hold a conversation with one client, until it leaves.

    A client shows its key in ``Authorization: Bearer``, or, where it is a browser, as a
    subprotocol ``openai-insecure-api-key.KEY`` next to ``realtime``.
    """
    offered = show_key(websocket)
    gate = gate or Gate()
    async with gate.admit(websocket) as admitted:
        if admitted is None:
            return
        await websocket.accept(_PROTOCOL if _PROTOCOL in offered else None)
        client = RealtimeClient(websocket, engine.limits.send, gate.max_idle_seconds)
        model = websocket.query_params.get("model", "gpt-realtime")[:_MAX_MODEL]
        await _Conversation(client, engine, resolve_voice, model).hold()
        await client.close()


class _Conversation:
    """One client's conversation, in as many sessions as it changes how it is held."""

    def __init__(
        self,
        client: RealtimeClient,
        engine: ConversationEngine,
        resolve_voice: ResolveVoice | None,
        model: str,
    ) -> None:
        self._client, self._engine, self._resolve = client, engine, resolve_voice
        self._events = RealtimeEvents(
            initial(model, engine.policy), lambda kind: f"{kind}_{new_request_id()[:24]}"
        )
        self._voice_id: str | None = None
        self._history: tuple[Exchange, ...] = ()
        self._odd = b""  # half a sample
        self._sound = bytearray()  # of a turn of the client's that cannot begin yet
        self._begun = False  # a turn that the client will commit

    @property
    def _config(self) -> RealtimeConfig:
        return self._events.config

    async def hold(self) -> None:
        await self._client.send(self._events.created())
        while not self._client.gone.is_set():
            async with self._session() as session, anyio.create_task_group() as tasks:
                tasks.start_soon(self._tell, session, tasks.cancel_scope)
                await self._obey(session)
                tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def _session(self) -> AsyncGenerator[Session]:
        config, engine = self._config, self._engine
        if config.modality == "text":
            engine = copy(engine)
            engine.configure_tts(Wordless())
        voice: dict[str, Any] = {} if self._voice_id is None else {"voice_id": self._voice_id}
        if config.speed != 1.0:
            voice["speed_factor"] = config.speed
        session = engine.session(
            language=config.language,
            voice_config=voice,
            policy=policy_of(config, engine.policy),
            playout_lead=_LEAD,
            playout_frame=_PIECE,
        )
        inner = streaming_responder(engine.response_generator)
        self._responder = AskedResponder(inner, self._events, self._history)
        session.answer_with(self._responder)
        self._odd, self._begun = b"", False
        self._sound.clear()
        async with session:
            yield session

    async def _tell(self, session: Session, conversation: anyio.CancelScope) -> None:
        async for event in session:
            if isinstance(event, SessionEnded):
                await self._client.close(POLICY)
            await self._client.send(*self._events.told(event))
            self._responder.look()
            if self._client.gone.is_set():
                conversation.cancel()

    async def _obey(self, session: Session) -> None:
        """Do what the client wants, until it has left or wants another session."""
        while (data := await self._client.receive()) is not None:
            event_id = None
            try:
                message = message_of(data)
                event_id = event_id_of(message)
                command = parsed(message)
                if await self._carry_out(command, session):
                    return
            except RealtimeRefusal as refusal:
                await self._client.send(self._events.refused(refusal, event_id))
            except (RealtimeSTTSError, HTTPException) as error:
                failed = self._events.failed(*problem_with(error), event_id)
                await self._client.send(failed)

    async def _carry_out(self, command: Command, session: Session) -> bool:
        """Do as the client says; return whether that takes another session."""
        match command:
            case Update(given):
                return await self._update(given, session)
            case Append(audio):
                await self._append(audio, session)
            case Commit():
                await self._commit(session)
            case Clear():
                await self._clear(session)
            case Create():
                await self._create(session)
            case Cancel():
                await self._cancel(session)
            case _:
                await self._client.send(self._events.truncated(command))
        return False

    async def _update(self, given: object, session: Session) -> bool:
        """Hold the conversation otherwise from now on; whether that takes another session."""
        before = self._config
        config = configured(before, given, self._engine.policy)
        if config.voice != before.voice:
            tts = self._engine.tts_engine
            assert tts is not None  # or there were no session
            self._voice_id = await voice_of(config.voice, tts, self._resolve)
        anew = _made_of(config) != _made_of(before)
        if anew:
            kept = (*self._history, *self._events.kept(session.history))
            self._history = kept[-_MAX_HISTORY:]
            await self._client.send(*self._events.restart(session.clock))
        await self._client.send(self._events.update(config))
        self._responder.look()
        return anew

    # -- the user's turns

    @property
    def _manual(self) -> bool:
        return self._config.turn_detection is None

    async def _append(self, audio: bytes, session: Session) -> None:
        data = self._odd + audio
        whole = len(data) & ~1
        self._odd = data[whole:]
        if not self._manual:
            await session.push(AudioData(data[:whole], self._config.input_rate))
            return
        most = round(self._engine.policy.max_turn * self._config.input_rate) * 2
        if len(self._sound) + whole > most:
            raise RealtimeRefusal(
                "The audio buffer is full: commit or clear it.", "audio", "buffer_full"
            )
        self._sound += data[:whole]
        # To begin a turn stops the answer to the one before.
        if self._begun or not session.turns_under_way:
            await self._begin(session)

    async def _begin(self, session: Session) -> None:
        if not self._begun:
            self._begun = True
            await session.begin_turn()
        sound = bytes(self._sound)
        self._sound.clear()
        await session.push(AudioData(sound, self._config.input_rate))

    async def _commit(self, session: Session) -> None:
        if self._manual:
            if not (self._begun or self._sound):
                message = "The audio buffer is empty: append audio before it is committed."
                raise RealtimeRefusal(message, code="input_audio_buffer_commit_empty")
            await self._begin(session)
            # The session's resampler holds the last milliseconds back until more comes.
            await session.push(AudioData.silence(_HELD_BACK, self._config.input_rate))
            self._begun = False
            await self._client.send(*self._events.commit(session.statistics.turns))
        await session.commit_turn()

    async def _clear(self, session: Session) -> None:
        self._odd = b""
        self._sound.clear()
        if self._begun or self._events.hearing:
            self._begun = False
            self._events.drop(session.statistics.turns)
            await session.commit_turn()
        await self._client.send(self._events.cleared())

    # -- the answers

    async def _create(self, session: Session) -> None:
        if self._events.responding:
            message = "An answer is under way: wait for its end, or cancel it."
            raise RealtimeRefusal(message, code="conversation_already_has_active_response")
        if self._begun or self._sound or self._events.hearing:
            await self._commit(session)
        turn = session.statistics.turns
        if not session.turns_under_way or self._events.verdict(turn) is False:
            message = "There is nothing to answer: append audio and commit it first."
            raise RealtimeRefusal(message, code="nothing_to_answer")
        if self._events.verdict(turn) is None:
            await self._client.send(*self._events.ask(turn))
            self._responder.look()

    async def _cancel(self, session: Session) -> None:
        if not self._events.responding:
            message = "No answer is under way."
            raise RealtimeRefusal(message, code="response_cancel_not_active")
        self._events.cancelling()
        await session.interrupt()


def _made_of(config: RealtimeConfig) -> tuple[object, ...]:
    """What cannot change in a session."""
    detection = config.turn_detection
    turns = detection and (detection.silence, detection.padding, detection.interrupt_response)
    return (
        turns,
        config.voice,
        config.speed,
        config.language,
        config.modality,
        config.input_rate,
    )
