"""The same conversations held by other frameworks, with the same engines.

Each framework runs in a process and an environment of its own, ours too, and is set up as
its documentation says (see `benchmarks.peers`). They take turns: a round of one, a round of
the next, and back. The engines take a fixed time (0.1 s to recognise, 0.1 s to begin to
speak) and no computing; the detector is the same rule everywhere. What differs is what the
framework does.

* The first sound: from the user's last voiced sample to the first of the answer, where 0.5 s
  of silence end a turn. "eager": with what each has to answer sooner; only ours and LiveKit
  have something.
* Barge-in: from the first sample of a voice over an answer to silence, where 0.3 s of voice
  are asked for.
* CPU time of a 20 ms frame while nobody speaks, and of a second of conversation, with
  several at a time. What feeding the frames costs, which none can avoid, is a row.
* Hearing with the same weights: from the last voiced sample to the text.

Equal means that each side heard every utterance and answered it in full, that an answer was
silenced well before its end, and that the texts are the same.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import numpy as np

from realtime_stts.engines.espeak import ESpeakTTSEngine

from ._report import Row, Sample
from .peers.call import RATE
from .peers.worker_client import Peer, PeerError

__all__ = ["MISSING", "run"]

MISSING: list[str] = []
"""What could not be measured in this run, and why: one sentence each."""

_CANNOT = [
    "FastRTC, sessions a core holds: one call takes a core, as its loop asks without a pause.",
    "FastRTC, an interruption as such: it notices a voice, of 1 s here, when that has paused.",
    "LiveKit Agents with a room or SIP, and its hosted models: they need a server or an account.",
    "pipecat's and LiveKit's own models for pauses and turns: all sides have the same rule here.",
    "RealtimeTTS: it plays to a sound card, and its engines need weights or an account.",
    "How many words are wrong, and how voices sound: no real weights are here.",
]

_Variants = Mapping[str, tuple[str, dict[str, object]]]  # by name: the side, and its options
_TALKERS: _Variants = {
    "ours": ("ours", {}),
    "pipecat": ("pipecat", {}),
    "LiveKit": ("livekit", {}),
    "FastRTC": ("fastrtc", {}),
}
_EAGER: _Variants = {
    "ours": ("ours", {"eager": True}),
    "LiveKit": ("livekit", {"eager": True}),
}
_WEIGHED: _Variants = {
    "ours": ("ours", {}),
    "pipecat": ("pipecat", {}),
    "pipecat, bare": ("pipecat", {"bare": True}),
    "LiveKit": ("livekit", {}),
    "FastRTC": ("fastrtc", {}),
}
_AT_ONCE = 10  # calls; the heaviest but FastRTC holds about 20 on a core
_SAID = "how is the weather today"


def run() -> list[Row]:
    MISSING[:] = _CANNOT
    with ExitStack() as processes:
        peers = _Peers(processes)

        def beside(case: str, variants: _Variants, job: str, n: int, unit: str) -> Iterator[Row]:
            rounds = {
                name: partial(peers.round, side, job=job, n=n, **options)
                for name, (side, options) in variants.items()
            }
            short = n < _AT_ONCE
            return _rows(case, _measured(rounds, 3 if short else 2, warm_up=short), unit)

        feeding = {"ours": _WEIGHED["ours"], "nobody: feeding alone": ("nothing", {})}
        frame = f"CPU of a frame of one call of {_AT_ONCE}, nobody speaks"
        conversation = f"CPU of a second of one conversation of {_AT_ONCE}"
        rows = [
            *beside("the first sound", _TALKERS, "turns", 2, "ms"),
            *beside("the first sound, eager", _EAGER, "turns", 2, "ms"),
            *beside("silence after barge-in", _TALKERS, "barge_in", 1, "ms"),
            *beside(frame, {**_WEIGHED, **feeding}, "idle", _AT_ONCE, "us"),
            *beside(conversation, _WEIGHED, "conversations", _AT_ONCE, "ms"),
        ]
        with TemporaryDirectory(prefix="bench-peers-") as folder:
            rows += _hearing(peers, Path(folder))
    return rows


class _Peers:
    """The processes: each is started when it is first asked, and not again if that fails."""

    def __init__(self, processes: ExitStack) -> None:
        self._processes = processes
        self._peers: dict[str, Peer | PeerError] = {}

    def round(self, side: str, *, process: str = "", **question: object) -> dict[str, Any]:
        """One round of a side; with ``process``, in one that is apart from its others."""
        name = side + process
        peer = self._peers.get(name)
        if peer is None:
            try:
                peer = self._processes.enter_context(Peer(side))
            except PeerError as exc:
                peer = exc
            self._peers[name] = peer
        if isinstance(peer, PeerError):
            raise peer
        return {"version": peer.version, **peer.ask(**question)}


@dataclass(slots=True)
class _Measured:
    """What the rounds of one side gave."""

    seconds: list[float] = field(default_factory=list)
    version: str = ""
    equal: bool = True
    failure: str = ""


def _measured(
    rounds: Mapping[str, Callable[[], dict[str, Any]]], n: int, *, warm_up: bool
) -> dict[str, _Measured]:
    """So many rounds of each side, there and back; a side that fails has no more."""
    measured = {name: _Measured() for name in rounds}
    order = [*rounds]
    for number in range(-1 if warm_up else 0, n):
        for name in order:
            of_side = measured[name]
            if of_side.failure:
                continue
            try:
                answer = rounds[name]()
                if not answer["equal"]:  # once more: a machine that is busy loses calls
                    print(f"{name} failed the equality gate: is the machine busy?", file=sys.stderr)
                    answer = rounds[name]()
            except PeerError as exc:
                of_side.failure = str(exc)
                continue
            of_side.version = answer["version"]
            of_side.equal = of_side.equal and answer["equal"]
            if number >= 0:
                of_side.seconds += answer["seconds"]
        order.reverse()
    return measured


def _rows(case: str, measured: Mapping[str, _Measured], unit: str) -> Iterator[Row]:
    """Ours beside each other; one that failed, or did other work, is told of in `MISSING`."""
    scale = {"ms": 1e3, "us": 1e6}[unit]
    ours = measured["ours"]
    if not ours.seconds:
        raise RuntimeError(f"{case}: ours failed: {ours.failure or 'no figures'}")
    sample = Sample.of([scale * seconds for seconds in ours.seconds])
    for name, peer in measured.items():
        if name == "ours":
            continue
        if peer.failure or not peer.equal or not peer.seconds:
            why = peer.failure or "it failed the equality gate: not every utterance was answered"
            MISSING.append(f"{name}, {case}: {why}.")
            yield Row.of(f"{case}, vs. {name}: failed", sample, unit=unit, equal=ours.equal)
            continue
        theirs = Sample.of([scale * seconds for seconds in peer.seconds])
        named = f"{name} {peer.version}" if not name.startswith("nobody") else name
        yield Row.of(f"{case}, vs. {named}", sample, theirs, unit=unit, equal=ours.equal)
    _say(case, measured)


def _say(case: str, measured: Mapping[str, _Measured]) -> None:
    """How each side did, once it is known: all of them take ten minutes."""
    for name, side in measured.items():
        figures = " ".join(f"{seconds:.4g}" for seconds in sorted(side.seconds))
        print(f"{case}: {name}: {figures} s {side.failure}", file=sys.stderr)


# -- hearing -----------------------------------------------------------------------------


def _hearing(peers: _Peers, folder: Path) -> Iterator[Row]:
    """Whisper's fixture, in torch on our side and in CTranslate2 on RealtimeSTT's."""
    clip = folder / "clip.npy"
    np.save(clip, anyio.run(_spoken))
    try:
        peers.round("ours-ears", job="export", folder=str(folder))
    except PeerError as exc:
        MISSING.append(f"hearing with the same weights: {exc}.")
        return
    for case, eager in (("text of a clip", False), ("text of a clip, eager", True)):

        def heard(side: str, eager: bool = eager) -> dict[str, Any]:
            question = {"job": "heard", "folder": str(folder), "clip": str(clip), "eager": eager}
            answer = peers.round(side, process=f" {eager}", **question)
            said = re.sub("[^a-z ]", "", answer["text"].lower()).strip()
            return {**answer, "equal": said == _SAID}

        rounds = {"ours": partial(heard, "ours-ears"), "RealtimeSTT": partial(heard, "realtimestt")}
        yield from _rows(case, _measured(rounds, 3, warm_up=True), "ms")


async def _spoken() -> np.ndarray:
    """The clip, from its first voiced sample to its last."""
    async with ESpeakTTSEngine("en-us+f3", rate=150) as voice:
        audio = (await voice.synthesize(_SAID, {})).audio_data.resampled(RATE)
    samples = np.array(audio.samples[:, 0], np.float32)
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    return samples[loud[0] : loud[-1] + 1]
