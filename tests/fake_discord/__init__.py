"""A local Discord that the real discord.py talks to: REST, gateway, voice gateway and UDP.

    async with FakeDiscord() as discord:
        guild = discord.add_guild("home", members=[ANNA])
        client = discord.client()
        async with client:
            running = asyncio.create_task(client.start(discord.token))
            await client.wait_until_ready()
            voice = await client.get_channel(guild.voice_channel).connect()
            voice.play(source)  # what it plays is in discord.voice(guild).pcm()

Loopback only; TLS with a certificate made on the spot; end-to-end encryption is off (DAVE
version 0), transport encryption is the real one. It knows what the tests need, no more.
"""

from ._ears import ears
from ._payloads import ANNA, BEN, BOT, CARLA, Guild, User
from ._server import FakeDiscord, Interaction, until
from ._voice import Packet, VoiceSession

__all__ = [
    "ANNA",
    "BEN",
    "BOT",
    "CARLA",
    "FakeDiscord",
    "Guild",
    "Interaction",
    "Packet",
    "User",
    "VoiceSession",
    "ears",
    "until",
]
