"""The bot in one voice channel, from joining it to leaving."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any, Literal

import discord

from realtime_stts import ConversationEngine, FinalTranscript, TurnEnded, TurnFailed
from realtime_stts.errors import OverloadedError, SessionClosedError
from realtime_stts.integrations.discord import CallEvent, VoiceCall, start_receiving

from .limits import Limits
from .words import quoted

__all__ = ["Call", "Channel"]

_log = logging.getLogger(__name__)

_LEAVING = 3.0  # s

Channel = discord.VoiceChannel | discord.StageChannel


class Call:
    """Joins a channel, and leaves it when the call is over for any reason.

    Args:
        text_channel: Where it says what it does.
        hears: Whether it listens; otherwise it is deaf, and seen to be.
        writes: Whether what is said goes into the text channel.
        on_end: Told once, when all is over.
    """

    def __init__(
        self,
        conversation: ConversationEngine,
        channel: Channel,
        text_channel: discord.abc.Messageable,
        limits: Limits,
        *,
        hears: bool,
        writes: bool,
        mode: Literal["each", "room"],
        voice_config: dict[str, Any],
        on_end: Callable[[], object],
    ) -> None:
        self.channel, self.text_channel = channel, text_channel
        self.hears, self.writes = hears, writes
        self.announcement: discord.Message | None = None
        self.view: discord.ui.View | None = None  # of the announcement
        self._conversation, self._limits = conversation, limits
        self._mode: Literal["each", "room"] = mode
        self._voice_config = voice_config
        self._on_end = on_end
        self._voice: VoiceCall | None = None
        self._begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._alone: asyncio.TimerHandle | None = None
        self._listeners: set[int] = set()
        self._n_sayings = 0

    # -- its life

    async def begin(self) -> None:
        """Join.

        Raises:
            discord.DiscordException, TimeoutError, MissingExtraError: It did not work; then
                it is over.
            SessionClosedError: It was ended meanwhile.
        """
        self._task = asyncio.create_task(self._run(), name=f"call in {self.channel.id}")
        try:
            await asyncio.shield(self._begun)
        except asyncio.CancelledError:
            await self.end()
            raise

    async def end(self) -> None:
        """Leave; return when nothing is left of it."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            await self._hold()
        except asyncio.CancelledError:
            pass  # by `end`
        except Exception as exc:  # noqa: BLE001 - of engines, of Discord: the bot goes on
            if self._begun.done():
                _log.exception("the call in %s broke off", self.channel.id)
            else:
                self._begun.set_exception(exc)
        finally:
            if not self._begun.done():
                self._begun.set_exception(SessionClosedError("the call is over"))
            self.look_for_people(over=True)
            self._on_end()
            await self._say_that_it_is_over()

    async def _hold(self) -> None:
        try:
            client = await self.channel.connect(
                timeout=self._limits.connecting,
                self_deaf=not self.hears,
                cls=_client_type(self.hears),
            )
            async with VoiceCall(
                self._conversation, client, sessions=self._mode, voice_config=self._voice_config
            ) as call:
                receiver = start_receiving(client, call.bridge) if self.hears else None
                try:
                    self._voice = call
                    self._begun.set_result(None)
                    self.look_for_people()
                    async for heard in call:
                        await self._follow(heard)
                finally:
                    self._voice = None
                    if receiver is not None:
                        receiver.close()
        finally:
            # Also what did not get as far as to connect; or discord.py has done it already.
            left = self.channel.guild.voice_client
            if left is not None:
                with suppress(asyncio.TimeoutError):  # Discord did not confirm it
                    await asyncio.wait_for(left.disconnect(force=True), _LEAVING)

    async def _follow(self, heard: CallEvent) -> None:
        match heard.event:
            case FinalTranscript(text=text) if self.writes and text:
                who = "Somebody" if heard.user_id is None else f"<@{heard.user_id}>"
                await self._write(f"{who}: {quoted(text)}")
            case TurnEnded(heard=said) if self.writes and said:
                await self._write(f"**I**: {quoted(said)}")
            case TurnFailed(error=error):
                _log.warning("a turn in %s failed: %s", self.channel.id, error)
            case _:
                pass

    async def _write(self, text: str) -> None:
        try:
            await self.text_channel.send(text, allowed_mentions=discord.AllowedMentions.none())
        except discord.HTTPException as exc:
            _log.warning("cannot write to the channel: %s", exc)

    async def _say_that_it_is_over(self) -> None:
        if self.view is not None:
            self.view.stop()
        if self.announcement is not None:
            try:
                edit = self.announcement.edit(content="I have left.", view=None)
                await asyncio.wait_for(edit, _LEAVING)
            except (discord.HTTPException, OSError, asyncio.TimeoutError) as exc:
                _log.info("the announcement stays as it was: %s", exc)

    # -- who is there

    @property
    def listeners(self) -> frozenset[int]:
        """Who is heard."""
        return frozenset(self._listeners)

    def allow(self, member: discord.Member) -> bool:
        """Listen to somebody who agreed; False if they are not in the channel.

        Raises:
            OverloadedError: It listens to as many as it can.
        """
        if self._voice is None or member.id not in self._present().voice_states:
            return False
        self._voice.allow(member)
        self._listeners.add(member.id)
        return True

    def forget(self, member: discord.abc.Snowflake) -> bool:
        """Listen to them no more; whether it did."""
        if member.id not in self._listeners:
            return False
        self._listeners.discard(member.id)
        if self._voice is not None:
            self._voice.forget(member)
        return True

    @property
    def is_alone(self) -> bool:
        """Whether there is nobody else, so that it will leave."""
        return self._alone is not None

    def look_for_people(self, *, over: bool = False) -> None:
        """Forget who has left, and leave after a while without anybody.

        The same where the bot itself is not there: thrown out, or reconnecting.
        """
        here = self._present().voice_states
        for user_id in self._listeners - here.keys():
            self.forget(discord.Object(user_id))
        is_here = self.channel.guild.me.id in here
        if not over and not (is_here and any(self._is_person(each) for each in here)):
            if self._alone is None:
                loop = asyncio.get_running_loop()
                self._alone = loop.call_later(self._limits.alone, self._leave)
        elif self._alone is not None:
            self._alone.cancel()
            self._alone = None

    def _present(self) -> Channel:
        """Where it is, which may be another channel than it joined."""
        client = self.channel.guild.voice_client
        channel = None if client is None else client.channel
        return channel if isinstance(channel, Channel) else self.channel

    def _is_person(self, user_id: int) -> bool:
        member = self.channel.guild.get_member(user_id)
        return member is None or not member.bot

    def _leave(self) -> None:
        if self._task is not None:
            self._task.cancel()

    # -- what it says

    async def say(self, text: str) -> bool:
        """Speak; whether it was heard to its end.

        Raises:
            OverloadedError: Too much waits to be said.
            SessionClosedError, EngineError: As of `VoiceCall.say`.
        """
        if self._voice is None:
            raise SessionClosedError("the call has not begun, or is over")
        if self._n_sayings >= self._limits.sayings:
            raise OverloadedError("too much waits to be said")
        self._n_sayings += 1
        try:
            return await self._voice.say(text)
        finally:
            self._n_sayings -= 1


def _client_type(hears: bool) -> Any:
    """discord.py's voice client, or that of the extension that receives."""
    return import_module("discord.ext.voice_recv").VoiceRecvClient if hears else discord.VoiceClient
