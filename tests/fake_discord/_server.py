"""All of it together, and what its people do: commands, buttons, messages, moving about."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Any

import aiohttp
import discord
import discord.http
import yarl
from aiohttp import web
from discord.gateway import DiscordWebSocket
from typing_extensions import Self

from ._gateway import Gateway
from ._payloads import BOT, Guild, User, new_id
from ._rest import Rest
from ._tls import contexts
from ._voice import Voice, VoiceSession

__all__ = ["FakeDiscord", "Interaction", "until"]

_PATIENCE = 15.0  # s; only failures take so long
_EPHEMERAL, _LOADING = 1 << 6, 1 << 7


def _no_reader_is_left() -> bool:
    return not any("voice-socket-reader" in each.name for each in threading.enumerate())


async def until(condition: Callable[[], Any], *, seconds: float = _PATIENCE) -> Any:
    """Wait until ``condition`` holds; return what it returned."""
    end = monotonic() + seconds
    while not (value := condition()):
        if monotonic() > end:
            raise TimeoutError(f"never became true: {condition}")
        await asyncio.sleep(0.01)
    return value


@dataclass(slots=True)
class Interaction:
    """Something that somebody asked of the bot, and the bot's answer."""

    rest: Rest
    token: str

    @property
    def message(self) -> dict[str, Any]:
        """The message that answered it."""
        return self.rest.messages[self.rest.originals[self.token]]

    @property
    def text(self) -> str:
        return str(self.message["content"])

    @property
    def is_ephemeral(self) -> bool:
        return bool(self.message["flags"] & _EPHEMERAL)

    @property
    def choices(self) -> list[str]:
        """What was offered to complete an option."""
        return [each["name"] for each in self.rest.answers[self.token][0]["data"]["choices"]]

    async def acknowledged(self) -> Self:
        """Wait for any answer, be it the promise of one."""
        await until(lambda: self.rest.answers.get(self.token))
        return self

    async def answered(self) -> Self:
        """Wait for the answer itself, and so for what was promised."""
        await self.acknowledged()

        def is_there() -> bool:
            message = self.rest.messages.get(self.rest.originals.get(self.token, 0))
            return message is not None and not message["flags"] & _LOADING

        await until(is_there)
        return self


class FakeDiscord:
    """A local Discord. While it is open, discord.py's calls go to it."""

    token = "a-token"

    def __init__(self) -> None:
        self.guilds: dict[int, Guild] = {}
        self.rest = Rest(self.guilds, self.token)
        self.gateway = Gateway(self.guilds, lambda: self._url("wss") + "/gateway/", self._moved)
        self.voice_server = Voice(self.guilds)
        self._real = discord.http.Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._reporting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 26)
        app.add_routes(self.rest.routes())
        app.router.add_get("/gateway/", self.gateway.serve)
        app.router.add_get("/voice/", self.voice_server.serve)
        self._runner = web.AppRunner(app, shutdown_timeout=1.0, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=contexts()[0])
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.rest.url = self._url("https")
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self.voice_server, local_addr=("127.0.0.1", 0))
        self._reporting = asyncio.create_task(self.voice_server.report())
        discord.http.Route.BASE = self.rest.url + "/api/v10"
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(self._url("wss") + "/gateway/")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        discord.http.Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = self._real
        # discord.py's reader looks up to 30 s at a socket that is closed already, unless there
        # comes a packet: one is sent while there is a server (see `Voice.report`).
        with suppress(TimeoutError):
            await until(_no_reader_is_left, seconds=3.0)
        assert self._reporting is not None
        self._reporting.cancel()
        self.voice_server.close()
        await self.gateway.close()
        for session in self.voice_server.sessions:
            await session.close(1001)
        if self._runner is not None:
            await self._runner.cleanup()

    def _url(self, scheme: str) -> str:
        return f"{scheme}://127.0.0.1:{self._port}"

    # -- for clients

    def options(self) -> dict[str, Any]:
        """What a `discord.Client` needs to come here, and to be ready at once."""
        connector = aiohttp.TCPConnector(limit=0, ssl=contexts()[1])
        return {"connector": connector, "guild_ready_timeout": 0.05}

    def client(self, **options: Any) -> discord.Client:
        return discord.Client(intents=discord.Intents.default(), **self.options(), **options)

    # -- the world

    def add_guild(self, name: str, members: Iterable[User], *, voice: Iterable[User] = ()) -> Guild:
        """A new guild. Those in ``voice`` are in its voice channel."""
        guild = Guild(name, [*members])
        self.guilds[guild.id] = guild
        for user in voice:
            guild.voice_state(user, guild.voice_channel)
        return guild

    def voice(self, guild: Guild) -> VoiceSession:
        """The bot's last voice session there."""
        return [each for each in self.voice_server.sessions if each.guild is guild][-1]

    def is_in_voice(self, guild: Guild) -> bool:
        return BOT.id in guild.voice_states

    def posted(self, channel: int) -> list[dict[str, Any]]:
        """The bot's messages that all can read, in order."""
        return [
            each
            for each in self.rest.messages.values()
            if each["channel_id"] == str(channel)
            and each["author"]["id"] == str(BOT.id)
            and not each["flags"] & (_EPHEMERAL | _LOADING)
        ]

    # -- what people do

    async def command(self, guild: Guild, user: User, name: str, /, **options: Any) -> Interaction:
        """A slash command. An option that is an attachment's JSON is passed as one."""
        given, files = [], {}
        for option, value in options.items():
            if isinstance(value, dict):
                files[value["id"]] = value
                given.append({"name": option, "type": 11, "value": value["id"]})
            else:
                kind = {str: 3, bool: 5, int: 4}[type(value)]
                given.append({"name": option, "type": kind, "value": value})
        data = {"name": name, "type": 1, "options": given, "resolved": {"attachments": files}}
        return await self._interact(guild, user, 2, data)

    async def asked(self, guild: Guild, user: User, name: str, /, **options: Any) -> Interaction:
        """A slash command, answered."""
        return await (await self.command(guild, user, name, **options)).answered()

    async def complete(
        self, guild: Guild, user: User, name: str, option: str, typed: str
    ) -> Interaction:
        """What is asked while somebody types an option of a slash command."""
        given = {"name": option, "type": 3, "value": typed, "focused": True}
        return await self._interact(guild, user, 4, {"name": name, "type": 1, "options": [given]})

    async def menu(
        self, guild: Guild, user: User, name: str, message: dict[str, Any]
    ) -> Interaction:
        """A command from the menu of a message."""
        target = {"target_id": message["id"], "resolved": {"messages": {message["id"]: message}}}
        return await self._interact(guild, user, 2, {"name": name, "type": 3, **target})

    async def press(
        self, guild: Guild, user: User, message: dict[str, Any], label: str
    ) -> Interaction:
        """A button of a message."""
        buttons = [each for row in message["components"] for each in row["components"]]
        (button,) = (each for each in buttons if each["label"] == label)
        data = {"custom_id": button["custom_id"], "component_type": 2}
        interaction = await self._interact(guild, user, 3, data, message=message)
        self.rest.originals.setdefault(interaction.token, int(message["id"]))
        return interaction

    async def _interact(
        self, guild: Guild, user: User, kind: int, data: dict[str, Any], **more: Any
    ) -> Interaction:
        token = f"token-{new_id()}"
        channel = guild.text_channel
        self.rest.channels[token] = channel
        if "message" in more:
            self.rest.originals[token] = int(more["message"]["id"])
        await self.gateway.dispatch(
            "INTERACTION_CREATE",
            {
                "id": str(new_id()),
                "application_id": str(BOT.id),
                "type": kind,
                "token": token,
                "version": 1,
                "data": {"id": str(new_id()), **data},
                "guild_id": str(guild.id),
                "channel_id": str(channel),
                "channel": guild.channel(channel),
                "member": user.member(),
                "locale": "en-US",
                "guild_locale": "en-US",
                "app_permissions": str((1 << 53) - 1),
                "entitlements": [],
                "authorizing_integration_owners": {},
                "context": 0,
                "attachment_size_limit": 10 << 20,
                **more,
            },
        )
        return Interaction(self.rest, token)

    async def post(
        self, guild: Guild, user: User, content: str = "", *, files: Any = (), flags: int = 0
    ) -> dict[str, Any]:
        """A message of somebody's. 8192 is the flag of voice messages."""
        body = {"content": content, "flags": flags}
        message = self.rest.message(guild.text_channel, user, body, [*files])
        of = {"guild_id": str(guild.id), "member": user.member(whole=False)}
        await self.gateway.dispatch("MESSAGE_CREATE", {**message, **of})
        return message

    async def move(self, guild: Guild, user: User, channel: int | None) -> None:
        """Somebody enters a voice channel, changes it, or leaves."""
        await self.gateway.dispatch("VOICE_STATE_UPDATE", guild.voice_state(user, channel))

    async def kick(self, guild: Guild) -> None:
        """Somebody disconnects the bot from voice."""
        await self.move(guild, BOT, None)
        await self.voice(guild).close(4014)

    async def _moved(self, asked: dict[str, Any]) -> None:
        """The bot asks to be in a voice channel, or in none."""
        guild = self.guilds[int(asked["guild_id"])]
        channel = None if asked["channel_id"] is None else int(asked["channel_id"])
        flags = {name: asked[name] for name in ("self_deaf", "self_mute")}
        server = {
            "token": f"voice-token-{new_id()}",
            "guild_id": str(guild.id),
            "endpoint": f"127.0.0.1:{self._port}/voice",
        }
        state = guild.voice_state(BOT, channel, **flags)
        await self.gateway.dispatch("VOICE_STATE_UPDATE", state)
        if channel is not None:
            await self.gateway.dispatch("VOICE_SERVER_UPDATE", server)
