"""A Discord bot that speaks in voice channels, listens to those who agree, and transcribes.

    DISCORD_TOKEN=... python -m discord_bot

`SpeechBot` is a `discord.Client` over any `ConversationEngine`; everything about speech in it
comes from the library `realtime_stts`.
"""

from .bot import SpeechBot
from .limits import Limits

__all__ = ["Limits", "SpeechBot"]
