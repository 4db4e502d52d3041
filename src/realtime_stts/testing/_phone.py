"""One call while it lasts: a line without a gap into a session, and what comes back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Final, Literal

import anyio

from ..audio import AudioData
from ..conversation import Event, ReplyAudio, Session, SpeechStarted
from ..errors import SessionClosedError
from ._call import Call
from ._line import Moment, Playout

__all__ = ["LONGEST_PACKET", "HangUp", "Phone", "Silence", "Sound", "Step"]

_LEAD_IN: Final = 0.5  # s of line before all else: a detector has to know what silence is
_PATIENCE: Final = 1.5  # s for a session to notice that somebody has spoken
LONGEST_PACKET: Final = 1.0  # s of silence that go out at a time while nothing happens

# s from the bot's last sound to the caller's next, as between people: T. Stivers et al.,
# "Universals and cultural variation in turn-taking in conversation", PNAS 106(26), 2009
_GAP: Final = 0.2


@dataclass(frozen=True, slots=True)
class Sound:
    """Something to be heard from the caller."""

    what: str  # for messages
    text: str | None  # what is said; None in a noise
    audio: AudioData
    # When all that came before is over; at once; or when a reply has been playing so long, in s.
    cue: Literal["quiet", "now"] | float


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing is to be heard from the caller."""

    seconds: float


@dataclass(frozen=True, slots=True)
class HangUp:
    """The line ends."""


Step = Sound | Silence | HangUp


class Phone:
    """Calls a session once; the arguments are those of a `Caller`."""

    def __init__(self, session: Session, packet: float, sample_rate: int, patience: float) -> None:
        self._session = session
        self._packet = packet
        self._sample_rate = sample_rate
        self._patience = patience
        self._began = 0.0
        self._n_sent = 0  # samples
        self._caller, self._bot = Playout(), Playout()
        self._moments: list[Moment] = []
        self._replying = 0  # the turn whose reply was heard last
        self._spoken_until = -inf  # s of line
        self._noticed = True  # that the caller spoke
        self._failure: Exception | None = None

    async def call(self, steps: Iterable[Step]) -> Call:
        """Do all that, and wait for the session to end."""
        self._began = anyio.current_time()
        async with self._session, anyio.create_task_group() as tasks:
            tasks.start_soon(self._talk, steps, tasks.cancel_scope)
            async for event in self._session:
                self._listen(event)
        if self._failure is not None:
            raise self._failure
        ended = [moment.t for moment in self._moments[-1:]]
        return Call(
            tuple((moment.t, moment.event) for moment in self._moments),
            self._session.history,
            max(self._clock, self._bot.end, *ended),
            self._caller,
            self._bot,
        )

    # -- listening

    def _listen(self, event: Event) -> None:
        moment = Moment(anyio.current_time() - self._began, event)
        self._moments.append(moment)
        self._bot.tell(moment)
        match event:
            case SpeechStarted():
                self._noticed = True
            case ReplyAudio(turn):
                self._replying = turn

    @property
    def _clock(self) -> float:
        """Seconds of line sent."""
        return self._n_sent / self._sample_rate

    @property
    def _quiet(self) -> bool:
        """Whether everything that was said has been answered, as far as it ever will be."""
        return (
            self._session.turns_under_way == 0
            and self._clock >= self._bot.end + _GAP
            and (self._noticed or self._clock >= self._spoken_until + _PATIENCE)
        )

    def _replied_for(self, seconds: float) -> bool:
        """Whether a reply is playing that has been for so long."""
        now = self._clock
        return now < self._bot.end and self._bot.played(self._replying, now) >= seconds

    # -- talking

    async def _talk(self, steps: Iterable[Step], scope: anyio.CancelScope) -> None:
        try:
            await self._wait(_LEAD_IN)
            for step in steps:
                await self._do(step)
            await self._wait_for_quiet()
            await self._session.end_input()
        except SessionClosedError:
            pass  # the caller has hung up, or the session has ended by itself
        except Exception as exc:  # noqa: BLE001 - raised again, outside of the group
            self._failure = exc
            scope.cancel()

    async def _do(self, step: Step) -> None:
        if isinstance(step, Silence):
            await self._wait(step.seconds)
        elif isinstance(step, HangUp):
            await self._session.end_input()
        else:
            await self._wait_for_cue(step)
            await self._sound(step.audio)

    async def _sound(self, audio: AudioData) -> None:
        self._noticed = False
        self._caller.play(self._clock, 0, audio)
        size = max(1, round(self._packet * self._sample_rate))
        for first in range(0, audio.n_frames, size):
            await self._send(audio.data[2 * first : 2 * (first + size)])
        self._spoken_until = self._clock

    async def _wait_for_cue(self, sound: Sound) -> None:
        match sound.cue:
            case "now":
                pass
            case "quiet":
                await self._wait_for_quiet()
            case seconds:
                await self._wait_for_reply(seconds, sound.what)

    async def _wait_for_quiet(self) -> None:
        since = self._clock
        while not self._quiet:
            if self._clock > since + self._patience:
                raise AssertionError(
                    f"{self._session.turns_under_way} of the turns were not over at "
                    f"{self._clock:.2f} s, after {self._patience:g} s of waiting"
                )
            await self._wait(self._packet)

    async def _wait_for_reply(self, seconds: float, what: str) -> None:
        """Until a reply has been playing for so long."""
        since = self._clock
        while not self._replied_for(seconds):
            if self._quiet or self._clock > since + self._patience:
                raise AssertionError(
                    f"at {self._clock:.2f} s there was no reply to speak over: {what} was to "
                    f"begin once one had been playing for {seconds:g} s"
                )
            await self._wait(self._packet)

    async def _wait(self, seconds: float) -> None:
        left = round(seconds * self._sample_rate)
        while left > 0:
            longest = LONGEST_PACKET if self._quiet else self._packet
            n = min(left, max(1, round(longest * self._sample_rate)))
            await self._send(bytes(2 * n))
            left -= n

    async def _send(self, packet: bytes) -> None:
        """Send 16-bit samples when the last of them has been spoken."""
        n_sent = self._n_sent + len(packet) // 2
        await anyio.sleep_until(self._began + n_sent / self._sample_rate)
        self._n_sent = n_sent
        await self._session.push(AudioData(packet, self._sample_rate))
