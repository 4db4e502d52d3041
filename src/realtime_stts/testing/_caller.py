"""Simulated callers: what they say and when, held against a real session."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from math import inf
from typing import Any, Literal

from .._edge import not_none
from ..audio import AudioData
from ..conversation import ConversationEngine, Session
from ..protocols import TTSEngine
from ._audio import cough, speech
from ._call import Call
from ._phone import LONGEST_PACKET, HangUp, Phone, Silence, Sound, Step
from ._tones import speak_tones

__all__ = ["Caller"]


class Caller:
    """Somebody who calls, and says and does things in order.

        call = await Caller(engine).says("what is the weather").interrupts("never mind").run()

    A caller is an immutable value: each step returns another one. Without a ``voice`` it
    speaks in tones, which a `ToneSTTEngine` understands; of the pause detectors, the
    `EnergyPauseDetector` takes them for speech. The line begins with half a second of
    silence, and is never interrupted: packets of silence go out between the sounds, each
    when its time has come. While nothing happens they are up to a second long, so that an
    hour on virtual time is cheap; the session is then told of the time that much later.

    Args:
        conversation: An engine, of which every run makes a session; or a session, for one.
        voice: What the caller speaks with.
        voice_config: Passed to every synthesis.
        packet: Seconds of a packet of the line.
        sample_rate: Hz of the line.
        patience: Seconds to wait for the bot to finish. Then `run` fails.

    Raises:
        ValueError: ``packet`` is not over 0 and at most 1 s.
    """

    def __init__(
        self,
        conversation: ConversationEngine | Session,
        *,
        voice: TTSEngine | None = None,
        voice_config: Mapping[str, Any] | None = None,
        packet: float = 0.02,
        sample_rate: int = 16_000,
        patience: float = 600.0,
    ) -> None:
        if not 0.0 < packet <= LONGEST_PACKET:
            raise ValueError(
                f"a packet is over 0 and at most {LONGEST_PACKET:g} s long, not {packet!r}"
            )
        AudioData(b"", sample_rate)  # refuses an impossible rate
        self._conversation = conversation
        self._voice = voice
        self._voice_config = dict(voice_config or {})
        self._packet = packet
        self._sample_rate = sample_rate
        self._patience = patience
        self._steps: tuple[Step, ...] = ()

    # -- what they do --------------------------------------------------------------------

    def says(self, text: str) -> Caller:
        """Say it, once the bot has finished answering what came before.

        Raises:
            ValueError: It is blank.
        """
        return self._then(self._spoken(text, "quiet"))

    def waits(self, seconds: float) -> Caller:
        """Say nothing for so long, whatever the bot does.

        Raises:
            ValueError: ``seconds`` is negative, infinite or NaN.
        """
        return self._then(Silence(_duration(seconds)))

    def interrupts(self, text: str, after: float = 0.5) -> Caller:
        """Say it over a reply, once that has been playing for ``after`` seconds.

        That is at once if one has been playing for longer. `run` fails if none does.

        Raises:
            ValueError: The text is blank, or ``after`` negative, infinite or NaN.
        """
        return self._then(self._spoken(text, _duration(after)))

    def mumbles(self, seconds: float, *, after: float | None = None) -> Caller:
        """Hum: what sounds like speech and has no words in it.

        Args:
            seconds: How long.
            after: As of `interrupts`; None to begin at once, whatever the bot does.

        Raises:
            ValueError: A duration is negative, infinite or NaN.
        """
        audio = speech(_duration(seconds), self._sample_rate)
        return self._then(Sound("a mumble", None, audio, _cue(after)))

    def coughs(self, seconds: float = 0.2, *, after: float | None = None) -> Caller:
        """Make a noise that is not speech; the arguments are those of `mumbles`."""
        audio = cough(_duration(seconds), self._sample_rate)
        return self._then(Sound("a cough", None, audio, _cue(after)))

    def hangs_up(self) -> Caller:
        """End the line at once. Otherwise it ends once the bot has finished."""
        return self._then(HangUp())

    def _spoken(self, text: str, cue: Literal["quiet"] | float) -> Sound:
        if not text.strip():
            raise ValueError("there is nothing to say: the text is blank")
        return Sound(repr(text), text, speak_tones(text, self._sample_rate), cue)

    def _then(self, step: Step) -> Caller:
        if self._steps and isinstance(self._steps[-1], HangUp):
            raise ValueError("who has hung up does nothing more")
        other = copy(self)
        other._steps = (*self._steps, step)
        return other

    # -- the call ------------------------------------------------------------------------

    async def run(self) -> Call:
        """Call, do all that, and return what it was once the session has ended.

        The voice is asked for all texts beforehand, so that it takes no time of the call. A
        session that ends by itself ends the call.

        Raises:
            AssertionError: There was no reply to speak over, or the bot did not finish.
        """
        steps = [await self._voiced(step) for step in self._steps]
        session = self._conversation
        if isinstance(session, ConversationEngine):
            session = session.session()
        phone = Phone(session, self._packet, self._sample_rate, self._patience)
        return await phone.call(steps)

    async def _voiced(self, step: Step) -> Step:
        voice = self._voice
        if voice is None or not isinstance(step, Sound) or step.text is None:
            return step
        result = not_none(await voice.synthesize(step.text, dict(self._voice_config)), voice)
        audio = result.audio_data.mono().resampled(self._sample_rate).converted()
        return replace(step, audio=audio)


def _duration(seconds: float) -> float:
    if not 0.0 <= seconds < inf:
        raise ValueError(f"a duration is 0 seconds or more, not {seconds!r}")
    return seconds


def _cue(after: float | None) -> Literal["now"] | float:
    return "now" if after is None else _duration(after)
