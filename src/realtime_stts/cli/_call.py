"""A call: a caller who waits for answers, on a line that never goes quiet.

The caller's sound goes out in packets on one clock that does not drift, as from a
telephone. Between the phrases the line carries its own faint noise, so the session's
audio clock and this clock are one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio
import numpy as np
from numpy.typing import NDArray

from ..audio import AudioData
from ..conversation import (
    FinalTranscript,
    Session,
    StateChanged,
)
from ..protocols import ConversationState
from ._recording import Moment, Playout, Recording, record

__all__ = ["LINE_RATE", "Call", "Phrase"]

LINE_RATE = 16_000  # Hz; wideband telephony, and what a session listens at
_PACKETS = 50  # a second, of 20 ms: the packet time of RTP audio (RFC 3551)
_PACKET = LINE_RATE // _PACKETS  # samples
_NOISE = 10 ** (-60 / 20)  # rms of the line, -60 dBFS
_LEAD_IN = 0.5  # s of line before the first phrase
_PATIENCE = 1.5  # s after a phrase for an answer to begin
_BREATH = 0.6  # s between the bot's last sound and the caller's next


@dataclass(frozen=True, slots=True)
class Phrase:
    """What the caller says; ``text`` is None where nobody knows the words, and "" if none."""

    audio: AudioData  # mono, at the line's rate
    text: str | None = None
    over: float | None = None  # s after the bot began to speak, over it; None: when it has ended


class Call:
    """One conversation of a caller with a session.

    Args:
        session: A fresh one; the call opens and closes it.
        told: Called with each event as it comes and the phrase it is about.
    """

    def __init__(
        self,
        session: Session,
        told: Callable[[Moment, Phrase | None], None],
    ) -> None:
        self._session = session
        self._told = told
        self._sent: list[NDArray[np.int16]] = []
        self._noise = np.random.default_rng(0)
        self._phrase: Phrase | None = None  # the latest
        self._n_phrases = 0
        self._phrases: dict[int, int] = {}  # which each turn is about
        self._state = ConversationState.LISTENING
        self._playout = Playout()
        self._moments: list[Moment] = []
        self._began = 0.0
        self._said_at = -_PATIENCE  # s of line; the end of the latest phrase

    async def hold(self, phrases: Sequence[Phrase]) -> Recording:
        """Say the phrases, hear out what is not spoken over, and return what both heard."""
        self._began = anyio.current_time()
        async with self._session, anyio.create_task_group() as tasks:
            tasks.start_soon(self._talk, phrases)
            async for event in self._session:
                moment = Moment(anyio.current_time() - self._began, event)
                match event:
                    case StateChanged(state):
                        self._state = state
                    case FinalTranscript(turn):
                        self._phrases[turn] = self._n_phrases - 1
                self._playout.tell(moment)
                self._moments.append(moment)
                self._told(moment, self._phrase)
        caller = AudioData(np.concatenate(self._sent).tobytes(), LINE_RATE)
        texts = [phrase.text for phrase in phrases]
        return record(caller, self._playout, self._moments, texts, self._phrases)

    @property
    def _clock(self) -> float:
        """Seconds of line sent."""
        return len(self._sent) / _PACKETS

    async def _talk(self, phrases: Sequence[Phrase]) -> None:
        await self._send(AudioData.silence(_LEAD_IN, LINE_RATE))
        for phrase in phrases:
            while not self._may_speak(phrase.over):
                await self._send(AudioData.silence(1 / _PACKETS, LINE_RATE))
            self._phrase = phrase
            self._n_phrases += 1
            await self._send(phrase.audio)
            self._said_at = self._clock
        while not self._answered:
            await self._send(AudioData.silence(1 / _PACKETS, LINE_RATE))
        await self._session.end_input()

    def _may_speak(self, over: float | None) -> bool:
        """Whether the bot has answered, or has spoken as long as the caller listens to it."""
        if over is None or self._answered:
            return self._answered
        spans = [span for spans in self._playout.spans.values() for span in spans]
        begun = [start for start, _ in spans if start > self._said_at]
        return bool(begun) and self._clock >= begun[0] + over

    @property
    def _answered(self) -> bool:
        return (
            self._clock >= self._said_at + _PATIENCE
            and self._state is ConversationState.LISTENING
            and self._session.turns_under_way == 0
            and (not self._playout.spans or self._clock >= self._playout.end + _BREATH)
        )

    async def _send(self, audio: AudioData) -> None:
        samples = audio.samples[:, 0]
        for start in range(0, len(samples), _PACKET):
            packet = self._noise.normal(0.0, _NOISE, _PACKET).astype(np.float32)
            sound = samples[start : start + _PACKET]
            packet[: len(sound)] += sound
            line = AudioData.from_samples(packet, LINE_RATE)
            # A packet leaves when its last sample has been spoken.
            await anyio.sleep_until(self._began + (len(self._sent) + 1) / _PACKETS)
            self._sent.append(np.frombuffer(line.data, np.int16))
            await self._session.push(line)
