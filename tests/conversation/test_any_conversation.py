"""Whatever happens to a session, in whatever order: the promises that its host builds on."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Literal

import anyio
import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from realtime_stts import (
    AudioData,
    ConversationContext,
    ConversationEngine,
    EngineError,
    Event,
    FinalTranscript,
    Interrupted,
    ReplyAudio,
    ReplyPaused,
    ReplyResumed,
    Session,
    SessionEnded,
    SessionLimits,
    TranscriptionResult,
    TurnEnded,
    TurnFailed,
    TurnPolicy,
)
from realtime_stts.engines import load_pause_detector
from realtime_stts.testing import (
    ScriptedTTSEngine,
    ToneSTTEngine,
    speak_tones,
    speech,
    tone_text,
    virtual_time,
)

RATE = 16_000
MAX_EVENTS = 256
Health = Literal["well", "fails", "hangs"]


class Moody:
    """What engines do that are not well."""

    health: Health = "well"

    async def suffer(self) -> None:
        if self.health == "fails":
            raise EngineError(type(self).__name__, "is not well")
        if self.health == "hangs":
            await anyio.sleep_forever()


class MoodySTT(Moody, ToneSTTEngine):
    async def stream(
        self, audio: Any, language: str | None = None
    ) -> AsyncGenerator[TranscriptionResult]:
        async with aclosing(super().stream(audio, language)) as results:
            async for result in results:
                await self.suffer()
                yield result


class MoodyTTS(Moody, ScriptedTTSEngine):
    async def stream(
        self, text: str, voice_config: dict[str, Any] | None = None
    ) -> AsyncGenerator[AudioData]:
        async with aclosing(super().stream(text, voice_config)) as chunks:
            async for chunk in chunks:
                await self.suffer()
                yield chunk


class MoodyResponder(Moody):
    async def __call__(
        self, result: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        for word in f"You said {result.text} to me. What do you mean by that?".split():
            await self.suffer()
            await anyio.sleep(0.013)
            yield f"{word} "


class AnyConversation(RuleBasedStateMachine):
    @initialize(speculative=st.booleans(), min_words=st.integers(0, 2))
    def begin(self, speculative: bool, min_words: int) -> None:
        self.loop = virtual_time("asyncio")[1]["loop_factory"]()
        self.stt, self.tts, self.responder = MoodySTT(), MoodyTTS(), MoodyResponder()
        self.policy = TurnPolicy(
            speculative=speculative, min_words=min_words, max_turn=5.0, max_waiting=2
        )
        engine = ConversationEngine(
            stt=self.stt,
            tts=self.tts,
            responder=self.responder,
            pause_detector=load_pause_detector("energy"),
            policy=self.policy,
            limits=SessionLimits(transcription=2.0, response=2.0, synthesis=2.0),
        )
        self.session: Session = engine.session()
        self.events: list[Event] = []
        self.sound: dict[int, list[tuple[float, AudioData]]] = defaultdict(list)
        self.drained: bool | None = None
        self.run(self.open())

    def run(self, step: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(step)

    async def open(self) -> None:
        self.reading, self.leaving = asyncio.Event(), asyncio.Event()
        self.reading.set()
        self.main = asyncio.create_task(self.host())
        await asyncio.sleep(0.001)

    async def host(self) -> None:
        async with self.session, anyio.create_task_group() as tasks:
            tasks.start_soon(self.read)
            await self.leaving.wait()
            if self.drained is not None:
                self.drained = await self.session.drain(60.0)
            else:
                tasks.cancel_scope.cancel()

    async def read(self) -> None:
        async for event in self.session:
            self.note(event)
            await self.reading.wait()

    def note(self, event: Event) -> None:
        now = self.loop.time()
        self.events.append(event)
        match event:
            case ReplyAudio(turn, audio):
                played = self.sound[turn]
                end = played[-1][0] + played[-1][1].duration_seconds if played else 0.0
                played.append((max(now, end), audio))
            case ReplyPaused(turn) | Interrupted(turn):
                kept = [(at, audio.sliced(0.0, now - at)) for at, audio in self.sound[turn]]
                self.sound[turn] = [(at, audio) for at, audio in kept if audio.data]

    # -- what can happen

    async def hear(self, audio: AudioData, packet: float, *, paced: bool) -> None:
        at = 0.0
        while at < audio.duration_seconds:
            if paced:
                await asyncio.sleep(packet)
            # A host that has stopped reading is not heard: then the line is dropped.
            with anyio.move_on_after(1.0):
                await self.session.push(audio.sliced(at, at + packet))
            at += packet

    packets = st.sampled_from([0.011, 0.02, 0.1])
    texts = st.sampled_from(["tell me more", "stop", "mm-hm", "no that is not what i said"])

    @rule(text=texts, packet=packets, listening=st.floats(0.8, 6.0))
    def somebody_asks_and_listens(self, text: str, packet: float, listening: float) -> None:
        self.run(self.hear(speak_tones(text, sample_rate=RATE), packet, paced=True))
        self.run(self.hear(AudioData.silence(listening, RATE), packet, paced=True))

    @rule(text=texts, packet=packets, paced=st.booleans())
    def somebody_speaks(self, text: str, packet: float, paced: bool) -> None:
        self.run(self.hear(speak_tones(text, sample_rate=RATE), packet, paced=paced))

    @rule(seconds=st.floats(0.05, 3.0), packet=packets, paced=st.booleans())
    def silence(self, seconds: float, packet: float, paced: bool) -> None:
        self.run(self.hear(AudioData.silence(seconds, RATE), packet, paced=paced))

    @rule(seconds=st.sampled_from([0.1, 0.5, 0.9, 6.0]), packet=packets)
    def noise(self, seconds: float, packet: float) -> None:
        self.run(self.hear(speech(seconds, RATE), packet, paced=True))
        self.run(self.hear(AudioData.silence(1.0, RATE), packet, paced=True))

    @rule(seconds=st.floats(0.01, 20.0))
    def the_line_is_dead(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule(
        part=st.sampled_from(["stt", "tts", "responder"]),
        health=st.sampled_from(["fails", "hangs"]),
        text=texts,
    )
    def an_engine_is_unwell_for_a_while(self, part: str, health: Health, text: str) -> None:
        getattr(self, part).health = health
        self.somebody_asks_and_listens(text, 0.02, 4.0)
        getattr(self, part).health = "well"

    @rule()
    def the_host_stops_or_goes_on_reading(self) -> None:
        if self.reading.is_set():
            self.reading.clear()
        else:
            self.reading.set()
        self.run(asyncio.sleep(0.001))

    @rule(command=st.sampled_from(["begin_turn", "commit_turn", "interrupt"]))
    def a_command(self, command: str) -> None:
        async def carry_out() -> None:
            with anyio.move_on_after(1.0):
                await getattr(self.session, command)()

        self.run(carry_out())

    @precondition(lambda self: self.drained is None)
    @rule(drain=st.booleans())
    def the_end_is_to_be(self, drain: bool) -> None:
        """Whether to hear everything out in the end, or to hang up."""
        self.drained = False if drain else None

    # -- what holds meanwhile, and in the end

    @invariant()
    def the_queues_are_bounded(self) -> None:
        statistics = self.session.statistics
        assert statistics.undelivered_events <= MAX_EVENTS + 32
        assert statistics.turns_under_way <= self.policy.max_waiting + 3

    def teardown(self) -> None:
        if not hasattr(self, "main"):
            return
        wants_all = self.drained is not None
        self.reading.set()
        for part in (self.stt, self.tts, self.responder):
            part.health = "well"
        self.leaving.set()
        try:
            self.run(self.main)
            self.nothing_is_alive()
        finally:
            self.loop.close()
        self.no_sound_of_an_answer_after_it_was_stopped()
        self.every_turn_ends_once(wants_all)
        self.history_is_what_was_heard()

    def nothing_is_alive(self) -> None:
        assert not asyncio.all_tasks(self.loop)
        assert self.stt.open_streams == self.tts.open_streams == 0

    def no_sound_of_an_answer_after_it_was_stopped(self) -> None:
        silenced = set[int]()
        for event in self.events:
            match event:
                case ReplyPaused(turn) | Interrupted(turn):
                    silenced.add(turn)
                case ReplyResumed(turn):
                    silenced.discard(turn)
                case ReplyAudio(turn):
                    assert turn not in silenced

    def every_turn_ends_once(self, wants_all: bool) -> None:
        ended = [event.turn for event in self.events if isinstance(event, TurnEnded | TurnFailed)]
        assert len(ended) == len({*ended})
        finals = [event.turn for event in self.events if isinstance(event, FinalTranscript)]
        assert len(finals) == len({*finals})
        if wants_all:
            assert self.drained
            assert sorted(ended) == [*range(1, self.session.statistics.turns + 1)]
            assert self.events[-1] == SessionEnded("input ended")

    def history_is_what_was_heard(self) -> None:
        for exchange in self.session.history:
            sound = self.sound[exchange.turn]
            said = tone_text(AudioData.concat(audio for _, audio in sound)) if sound else ""
            # When a word is said is an estimate, and a host that reads late lets go of it later:
            # the last word may be in doubt.
            certain = exchange.heard.split()[:-1]
            assert _letters(said).startswith(_letters("".join(certain)))
            assert len(_letters(said)) - len(_letters(exchange.heard)) < 14


def _letters(text: str) -> str:
    return "".join(text.casefold().split())


TestAnyConversation: Callable[..., Any] = AnyConversation.TestCase
TestAnyConversation.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
