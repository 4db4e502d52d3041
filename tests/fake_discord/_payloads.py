"""What Discord's JSON looks like, as far as discord.py reads it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ANNA", "BEN", "BOT", "CARLA", "Guild", "User", "new_id"]

_ids = itertools.count(1_000_000_000_000_000_000)
_SINCE = "2026-01-01T00:00:00+00:00"
_EVERYTHING = str((1 << 53) - 1)


def new_id() -> int:
    """A snowflake that nothing else has."""
    return next(_ids)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody. `ssrc` is what their packets are marked with."""

    id: int
    name: str
    bot: bool = False

    @property
    def ssrc(self) -> int:
        return self.id % 100_000 + 7

    def json(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "username": self.name.lower(),
            "global_name": self.name,
            "discriminator": "0",
            "avatar": None,
            "bot": self.bot,
        }

    def member(self, *, whole: bool = True) -> dict[str, Any]:
        """``whole`` has the user in it, which messages leave out."""
        member: dict[str, Any] = {
            "roles": [],
            "joined_at": _SINCE,
            "deaf": False,
            "mute": False,
            "flags": 0,
            "permissions": _EVERYTHING,
        }
        return {**member, "user": self.json()} if whole else member


BOT = User(new_id(), "Parrot", bot=True)
ANNA, BEN, CARLA = (User(new_id(), name) for name in ("Anna", "Ben", "Carla"))


@dataclass(slots=True)
class Guild:
    """A server with one text channel and two voice channels."""

    name: str
    members: list[User]
    id: int = field(default_factory=new_id)
    text_channel: int = field(default_factory=new_id)
    voice_channel: int = field(default_factory=new_id)
    other_voice_channel: int = field(default_factory=new_id)
    permissions: str = _EVERYTHING  # of everyone, the bot included
    voice_states: dict[int, dict[str, Any]] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "name": self.name,
            "icon": None,
            "owner_id": str(self.members[0].id),
            "roles": [self._everyone()],
            "emojis": [],
            "stickers": [],
            "features": [],
            "channels": [
                self.channel(each)
                for each in (self.text_channel, self.voice_channel, self.other_voice_channel)
            ],
            "threads": [],
            "members": [each.member() for each in (*self.members, BOT)],
            "member_count": len(self.members) + 1,
            "voice_states": [*self.voice_states.values()],
            "presences": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "soundboard_sounds": [],
            "premium_tier": 0,
            "verification_level": 0,
            "default_message_notifications": 0,
            "explicit_content_filter": 0,
            "mfa_level": 0,
            "nsfw_level": 0,
            "preferred_locale": "en-US",
            "system_channel_flags": 0,
            "large": False,
            "unavailable": False,
            "joined_at": _SINCE,
        }

    def _everyone(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "name": "@everyone",
            "permissions": self.permissions,
            "position": 0,
            "color": 0,
            "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
            "hoist": False,
            "managed": False,
            "mentionable": False,
            "flags": 0,
        }

    def channel(self, channel_id: int) -> dict[str, Any]:
        is_text = channel_id == self.text_channel
        channel: dict[str, Any] = {
            "id": str(channel_id),
            "guild_id": str(self.id),
            "type": 0 if is_text else 2,
            "name": {self.text_channel: "general", self.voice_channel: "lounge"}.get(
                channel_id, "attic"
            ),
            "position": 0,
            "permission_overwrites": [],
            "parent_id": None,
            "nsfw": False,
            "flags": 0,
            "permissions": _EVERYTHING,
            "last_message_id": None,
            "rate_limit_per_user": 0,
        }
        if is_text:
            return {**channel, "topic": None}
        return {**channel, "bitrate": 64_000, "user_limit": 0, "rtc_region": None}

    def voice_state(self, user: User, channel_id: int | None, **flags: Any) -> dict[str, Any]:
        """Where somebody is from now on; `voice_states` remembers it."""
        state: dict[str, Any] = {
            "guild_id": str(self.id),
            "channel_id": None if channel_id is None else str(channel_id),
            "user_id": str(user.id),
            "member": user.member(),
            "session_id": f"voice-{user.id}-{self.id}",
            "deaf": False,
            "mute": False,
            "self_deaf": False,
            "self_mute": False,
            "self_video": False,
            "suppress": False,
            "request_to_speak_timestamp": None,
            **flags,
        }
        if channel_id is None:
            self.voice_states.pop(user.id, None)
        else:
            self.voice_states[user.id] = state
        return state
