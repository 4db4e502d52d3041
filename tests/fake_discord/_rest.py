"""The REST routes that the bot uses: login, commands, answers to interactions, messages, files."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from ._payloads import BOT, Guild, User, new_id

__all__ = ["Rest"]

_EPHEMERAL, _LOADING = 1 << 6, 1 << 7
_NOW = "2026-11-28T12:00:00+00:00"


class Rest:
    """What was sent to it stays here: messages by their id, answers by the interaction's token."""

    def __init__(self, guilds: dict[int, Guild], token: str) -> None:
        self.guilds, self.token = guilds, token
        self.url = ""  # of this server
        self.commands: dict[int | None, list[dict[str, Any]]] = {}  # by guild; None is global
        self.messages: dict[int, dict[str, Any]] = {}
        self.answers: dict[str, list[dict[str, Any]]] = {}  # callbacks, in order
        self.originals: dict[str, int] = {}  # the message that answered an interaction
        self.channels: dict[str, int] = {}  # where an interaction was, by its token
        self.files: dict[str, bytes] = {}  # what the CDN has, by path
        self.stalled: asyncio.Event | None = None  # the CDN waits for it, where there is one

    def routes(self) -> list[web.RouteDef]:
        api = "/api/v10"
        hook = f"{api}/webhooks/{{app}}/{{token}}"
        return [
            web.get(f"{api}/users/@me", self._me),
            web.get(f"{api}/oauth2/applications/@me", self._application),
            web.get(f"{api}/gateway/bot", self._gateway),
            web.put(f"{api}/applications/{{app}}/commands", self._sync),
            web.put(f"{api}/applications/{{app}}/guilds/{{guild}}/commands", self._sync),
            web.post(f"{api}/interactions/{{id}}/{{token}}/callback", self._callback),
            web.post(hook, self._follow_up),
            web.get(f"{hook}/messages/@original", self._original),
            web.patch(f"{hook}/messages/{{message}}", self._edit),
            web.delete(f"{hook}/messages/{{message}}", self._delete),
            web.post(f"{api}/channels/{{channel}}/messages", self._post),
            web.patch(f"{api}/channels/{{channel}}/messages/{{message}}", self._edit),
            web.delete(f"{api}/channels/{{channel}}/messages/{{message}}", self._delete),
            web.get("/attachments/{path:.*}", self._file),
        ]

    def message(
        self, channel: int, author: User, body: dict[str, Any], files: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """A new message of somebody's, which is kept."""
        message: dict[str, Any] = {
            "id": str(new_id()),
            "channel_id": str(channel),
            "author": author.json(),
            "content": body.get("content") or "",
            "timestamp": _NOW,
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "attachments": files,
            "embeds": body.get("embeds") or [],
            "components": body.get("components") or [],
            "pinned": False,
            "type": 19 if body.get("message_reference") else 0,
            "flags": body.get("flags") or 0,
            "allowed_mentions": body.get("allowed_mentions"),
        }
        if body.get("message_reference"):
            message["message_reference"] = body["message_reference"]
        self.messages[int(message["id"])] = message
        return message

    def attachment(self, name: str, data: bytes, **more: Any) -> dict[str, Any]:
        """A file on the CDN. ``size`` may be given, to lie about it."""
        path = f"{new_id()}/{name}"
        self.files[path] = data
        url = f"{self.url}/attachments/{path}"
        known = {"id": str(new_id()), "filename": name, "size": len(data)}
        return {**known, "url": url, "proxy_url": url, **more}

    # -- what is asked at the beginning

    async def _me(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bot {self.token}":
            return _json({"message": "401: Unauthorized", "code": 0}, status=401)
        return _json({**BOT.json(), "verified": True, "mfa_enabled": False})

    async def _application(self, request: web.Request) -> web.Response:
        app = {"id": str(BOT.id), "name": BOT.name, "description": "", "icon": None}
        owner = {"owner": BOT.json(), "verify_key": "0" * 64, "flags": 0}
        public = {"bot_public": True, "bot_require_code_grant": False}
        return _json({**app, **owner, **public})

    async def _gateway(self, request: web.Request) -> web.Response:
        limit = {"total": 1000, "remaining": 1000, "reset_after": 0, "max_concurrency": 1}
        url = self.url.replace("https", "wss", 1) + "/gateway/"
        return _json({"url": url, "shards": 1, "session_start_limit": limit})

    async def _sync(self, request: web.Request) -> web.Response:
        guild = request.match_info.get("guild")
        known = [
            {
                "type": 1,
                "description": "",
                **each,
                "id": str(new_id()),
                "application_id": str(BOT.id),
                "guild_id": guild,
                "version": "1",
            }
            for each in await request.json()
        ]
        self.commands[None if guild is None else int(guild)] = known
        return _json(known)

    # -- answers to interactions

    async def _callback(self, request: web.Request) -> web.Response:
        token = request.match_info["token"]
        said, files = await self._body(request)
        if self.answers.get(token):
            gone = {"message": "Interaction has already been acknowledged.", "code": 40060}
            return _json(gone, status=400)
        self.answers.setdefault(token, []).append(said)
        data = said.get("data") or {}
        interaction: dict[str, Any] = {"id": request.match_info["id"], "type": 2}
        resource: dict[str, Any] = {"type": said["type"]}
        if said["type"] in (4, 5):
            if said["type"] == 5:  # "is thinking"
                data = {**data, "flags": (data.get("flags") or 0) | _LOADING}
            message = self.message(self.channels[token], BOT, data, files)
            self.originals[token] = int(message["id"])
            interaction["response_message_id"] = message["id"]
            interaction["response_message_ephemeral"] = bool(message["flags"] & _EPHEMERAL)
            interaction["response_message_loading"] = said["type"] == 5
            resource["message"] = message
        elif said["type"] == 7 and token in self.originals:
            changed = self.messages[self.originals[token]]
            changed.update({name: data[name] or "" for name in ("content",) if name in data})
            changed.update({name: data[name] for name in ("components",) if name in data})
            resource["message"] = changed
        return _json({"interaction": interaction, "resource": resource})

    async def _follow_up(self, request: web.Request) -> web.Response:
        token = request.match_info["token"]
        said, files = await self._body(request)
        original = self.messages.get(self.originals.get(token, 0))
        if original is not None and original["flags"] & _LOADING:  # what was deferred is answered
            flags = original["flags"] & _EPHEMERAL
            return _json(self._change(original, {**said, "flags": flags}, files))
        return _json(self.message(self.channels[token], BOT, said, files))

    async def _original(self, request: web.Request) -> web.Response:
        return _json(self.messages[self.originals[request.match_info["token"]]])

    # -- messages

    async def _post(self, request: web.Request) -> web.Response:
        said, files = await self._body(request)
        channel = int(request.match_info["channel"])
        return _json(self.message(channel, BOT, said, files))

    async def _edit(self, request: web.Request) -> web.Response:
        said, files = await self._body(request)
        message = self._asked(request)
        if message is None:
            return _json({"message": "Unknown Message", "code": 10008}, status=404)
        return _json(self._change(message, said, files))

    async def _delete(self, request: web.Request) -> web.Response:
        message = self._asked(request)
        if message is not None:
            del self.messages[int(message["id"])]
        return web.Response(status=204)

    def _asked(self, request: web.Request) -> dict[str, Any] | None:
        number = request.match_info["message"]
        if number == "@original":
            return self.messages.get(self.originals[request.match_info["token"]])
        return self.messages.get(int(number))

    @staticmethod
    def _change(
        message: dict[str, Any], said: dict[str, Any], files: list[dict[str, Any]]
    ) -> dict[str, Any]:
        for name in ("content", "components", "embeds", "flags", "allowed_mentions"):
            if name in said:
                message[name] = said[name] if said[name] is not None else ""
        if said.get("components", ()) is None:
            message["components"] = []
        message["attachments"] = [*message["attachments"], *files]
        message["flags"] &= ~_LOADING
        return message

    async def _body(self, request: web.Request) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The JSON, and the files that came with it, which are on the CDN then."""
        if not request.content_type.startswith("multipart/"):
            return await request.json(), []
        form = await request.post()
        files = [
            self.attachment(each.filename, each.file.read())
            for each in form.values()
            if isinstance(each, web.FileField)
        ]
        return json.loads(str(form["payload_json"])), files

    async def _file(self, request: web.Request) -> web.Response:
        if self.stalled is not None:
            await self.stalled.wait()
        data = self.files.get(request.match_info["path"])
        if data is None:
            return web.Response(status=404)
        return web.Response(body=data, content_type="application/octet-stream")


def _json(data: Any, status: int = 200) -> web.Response:
    # As bytes: discord.py knows JSON by a content type without a charset.
    body = json.dumps(data).encode()
    return web.Response(body=body, status=status, content_type="application/json")
