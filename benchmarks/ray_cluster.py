"""Conversations on a Ray cluster of two nodes, while replicas die and are replaced.

Fifty callers say four things each, all of them different, to a conversation whose engines
are replicas on two nodes of one machine: four that hear, two that speak. Others call the
engines one-shot meanwhile. A quarter of the way through a replica's process is killed, then
one of the nodes is taken away, then both deployments are updated. All speech is in tones, so
that an answer which belongs to another caller, or one that is cut, is seen.

Exits with 1 if a session was lost, if a call was answered wrongly, or failed with an error
that is not one of this library's, or if a call was left in a replica or in the admission.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from time import perf_counter, sleep
from typing import Any

import anyio
import anyio.to_thread
import ray
from ray import serve
from ray.cluster_utils import Cluster
from ray.exceptions import RayError

from realtime_stts import AudioData, ConversationContext, ConversationEngine, TranscriptionResult
from realtime_stts.conversation import ReplyAudio, SessionLimits, TurnPolicy
from realtime_stts.engines.energy import EnergyPauseDetector
from realtime_stts.errors import RealtimeSTTSError
from realtime_stts.integrations.ray import RaySTTEngine, RayTTSEngine, deploy_stt, deploy_tts
from realtime_stts.testing import (
    Call,
    Caller,
    ScriptedTTSEngine,
    ToneSTTEngine,
    speak_tones,
    tone_text,
)

__all__ = ["Replica", "Summary", "main", "replicas_of", "scenario", "two_nodes"]

_HEARING, _SPEAKING = 4, 2  # replicas
_SLOTS = 32  # of a replica
_UTTERANCES = 4  # of a session
_STAGGER = 0.1  # s from one session's begin to the next's
_ONE_SHOT = 6  # callers beside the sessions
_PATIENCE = 120.0  # s for what must become true
_POLICY = TurnPolicy(end_of_turn=0.4, self_echo=None, idle_after=None)


# -- the cluster ---------------------------------------------------------------------------


@contextmanager
def two_nodes() -> Generator[tuple[Cluster, Any]]:
    """A cluster of this process, connected; and its second node, which may be removed.

    The head alone has room for everything, so that it can go on by itself. The work on the
    machine is what it is: CPUs are counted here, and not lent.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    cluster, second = _started()
    try:
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        # No HTTP: every replica is called by handle, and ports are the machine's.
        serve.start(proxy_location="Disabled")
        yield cluster, second
    finally:
        try:
            if ray.is_initialized():
                serve.shutdown()
        finally:
            ray.shutdown()
            cluster.shutdown()


def _started() -> tuple[Cluster, Any]:
    """Both nodes up; Ray gives its processes 30 s for it, and a busy machine may need more."""
    for n_left in (2, 1, 0):
        cluster = Cluster()
        try:
            cluster.add_node(num_cpus=16, include_dashboard=False)
            return cluster, cluster.add_node(num_cpus=8)
        except Exception:
            cluster.shutdown()
            if not n_left:
                raise
    raise AssertionError


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica's process, as the cluster sees it."""

    name: str
    node: str
    pid: int
    ongoing: int  # calls, by Serve's own count


def replicas_of(deployment: str) -> list[Replica]:
    """The replicas that answer now. It blocks, for milliseconds while all of them live."""
    found = []
    actors: list[Any] = ray.util.list_named_actors(all_namespaces=True)
    for actor in actors:
        if actor["name"].startswith(f"SERVE_REPLICA::{deployment}#"):
            try:
                found.append(_looked_at(actor["name"]))
            except (ValueError, RayError):
                continue  # it ends, or has not begun
    return found


def _looked_at(name: str) -> Replica:
    handle = ray.get_actor(name, namespace="serve")
    node, pid, ongoing = ray.get(handle.__ray_call__.remote(_within), timeout=2.0)
    return Replica(name, node, pid, ongoing)


def _within(replica: Any) -> tuple[str, int, int]:
    node = ray.get_runtime_context().get_node_id()
    return node, os.getpid(), replica.get_num_ongoing_requests()


# -- what is counted -----------------------------------------------------------------------


@dataclass(slots=True)
class Summary:
    """What became of every call."""

    sessions: int = 0  # that went on until their caller had said everything
    right: int = 0  # utterances heard and answered, each word of both
    failed: Counter[str] = field(default_factory=Counter)  # utterances, by the error's type
    one_shot: int = 0  # calls beside them, each right
    one_shot_failed: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)  # what must not be; empty
    done: list[str] = field(default_factory=list)  # to the cluster, and when
    versions: Counter[str] = field(default_factory=Counter)  # of replicas, that answered one-shot
    retried: int = 0  # calls that another replica answered, their callers none the wiser
    left: list[str] = field(default_factory=list)  # behind, in replicas or in the admission; empty

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, wrong or left behind."""
        return not self.wrong and not self.left

    def __str__(self) -> str:
        lines = [
            *self.done,
            f"sessions that went on to their end: {self.sessions}",
            f"utterances heard and answered, word for word: {self.right}",
            f"utterances that failed: {_told(self.failed)}",
            f"one-shot calls beside them, each right: {self.one_shot}",
            f"one-shot calls that failed: {_told(self.one_shot_failed)}",
            f"calls retried on another replica before their first result: {self.retried}",
            f"wrong: {'; '.join(self.wrong) or 'none'}",
            f"left behind: {'; '.join(self.left) or 'nothing'}",
        ]
        return "\n".join(lines)


def _told(failed: Counter[str]) -> str:
    each = ", ".join(f"{number} {name}" for name, number in sorted(failed.items()))
    return f"{failed.total()} ({each})" if failed else "0"


# -- the callers ---------------------------------------------------------------------------


class _Callers:
    """Everybody who calls, and what they found."""

    def __init__(self, stt: RaySTTEngine, tts: RayTTSEngine, sessions: int) -> None:
        self._stt, self._tts = stt, tts
        self._n_sessions = sessions
        self.summary = Summary()
        self.n_answered = 0  # turns that were heard, answered rightly or not
        self.removing, self.updating = anyio.Event(), anyio.Event()

    async def everybody(self, *, meanwhile: Callable[[_Callers], Any]) -> None:
        """All sessions to their end, one-shot calls meanwhile, and what ``meanwhile`` does."""
        engine = ConversationEngine(
            stt=self._stt,
            tts=self._tts,
            responder=self._answer,
            pause_detector=EnergyPauseDetector(),
            policy=_POLICY,
            end_of_turn=None,
            limits=SessionLimits(response=None),
        )
        async with anyio.create_task_group() as others:
            for number in range(_ONE_SHOT):
                others.start_soon(self._call_one_shot, number)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(meanwhile, self)
                for number in range(self._n_sessions):
                    tasks.start_soon(self._converse, engine, number)
            others.cancel_scope.cancel()

    async def _answer(
        self, transcription: TranscriptionResult, context: ConversationContext
    ) -> AsyncGenerator[str]:
        """What was heard. So that there are calls enough, whoever is ahead waits for trouble."""
        self.n_answered += 1
        if transcription.text.endswith("1"):
            await self.removing.wait()
        elif transcription.text.endswith("2"):
            await self.updating.wait()
        yield f"reply to {transcription.text}"

    async def _converse(self, engine: ConversationEngine, number: int) -> None:
        await anyio.sleep(number * _STAGGER)
        said = [f"caller {number:02d} says thing {each}" for each in range(_UTTERANCES)]
        caller = Caller(engine, packet=0.1)
        for text in said:
            caller = caller.says(text)
        self._look_at(await caller.run(), number, said)

    def _look_at(self, call: Call, number: int, said: list[str]) -> None:
        """Each utterance was one turn: answered word for word, or failed with a typed error."""
        summary, turns = self.summary, call.turns
        summary.sessions += 1
        if len(turns) != len(said):
            summary.wrong.append(f"session {number}: {len(turns)} turns of {len(said)}")
        for text, turn in zip(said, turns, strict=False):
            sound = [each.audio for each in call.of(ReplyAudio) if each.turn == turn.number]
            if turn.error is not None:
                name = type(turn.error).__name__
                summary.failed[name] += 1
                if not isinstance(turn.error, RealtimeSTTSError):
                    summary.wrong.append(f"session {number}: {turn.error!r}")
            elif turn.transcript != text:
                summary.wrong.append(f"session {number}: {turn.transcript!r} for {text!r}")
            elif tone_text(AudioData.concat(sound)) != f"reply to {text}":
                summary.wrong.append(f"session {number}: the sound of the answer to {text!r}")
            else:
                summary.right += 1

    async def _call_one_shot(self, number: int) -> None:
        """Speak a text and hear it again, for as long as the sessions last."""
        summary = self.summary
        for each in count():
            text = f"one shot {number} number {each}"
            try:
                spoken = await self._tts.synthesize(text, {})
                summary.one_shot += 1
                heard = await self._stt.transcribe(speak_tones(text, 16_000))
                summary.one_shot += 1
                summary.versions[heard.language or ""] += 1
            except RealtimeSTTSError as error:
                summary.one_shot_failed[type(error).__name__] += 1
                continue
            if (tone_text(spoken.audio_data), heard.text) != (text, text):
                summary.wrong.append(f"one-shot: {heard.text!r} for {text!r}")
            await anyio.sleep(0.05)


# -- what happens to the cluster -----------------------------------------------------------


def deploy(version: str) -> tuple[RaySTTEngine, RayTTSEngine]:
    """Both deployments; again, with another version, it is a rolling update. It blocks."""
    hear = partial(ToneSTTEngine, latency=0.02, language=version)
    speak = partial(ScriptedTTSEngine, latency=0.02, real_time_factor=0.1, voices=(version,))
    stt = deploy_stt(hear, name="scenario-stt", replicas=_HEARING, slots=_SLOTS, cpus=1.0)
    tts = deploy_tts(speak, name="scenario-tts", replicas=_SPEAKING, slots=_SLOTS, cpus=1.0)
    return stt, tts


class _Trouble:
    """A replica is killed, a node removed, everything updated: each after so many answers."""

    def __init__(self, cluster: Cluster, node: Any, n_utterances: int) -> None:
        self._cluster, self._node = cluster, node
        self._n = n_utterances
        self._began = perf_counter()

    async def __call__(self, callers: _Callers) -> None:
        # The third waits for a cluster that has noticed the second: new work for a node that
        # is not there fails, and an update with it.
        steps: list[tuple[float, Callable[[], str], anyio.Event | None]] = [
            (0.1, self._kill, None),
            (0.3, self._remove_node, callers.removing),
            (0.5, self._notice, None),
            (0.5, self._update, callers.updating),
        ]
        for share, act, begins in steps:
            while callers.n_answered < share * self._n:  # noqa: ASYNC110
                await anyio.sleep(0.01)
            if begins is not None:
                begins.set()
            told = await anyio.to_thread.run_sync(act)
            after = perf_counter() - self._began
            callers.summary.done.append(
                f"{told}; {callers.n_answered} of {self._n} answers, {after:.0f} s"
            )

    def _kill(self) -> str:
        victim = max(replicas_of("scenario-stt"), key=lambda replica: replica.ongoing)
        os.kill(victim.pid, signal.SIGKILL)
        return f"killed a replica with {victim.ongoing} calls"

    def _remove_node(self) -> str:
        everyone = [*replicas_of("scenario-stt"), *replicas_of("scenario-tts")]
        gone = [replica for replica in everyone if replica.node == self._node.node_id]
        self._cluster.remove_node(self._node, allow_graceful=False)
        n_calls = sum(replica.ongoing for replica in gone)
        return f"removed a node with {len(gone)} replicas and {n_calls} calls"

    def _notice(self) -> str:
        while any(node["Alive"] and node["NodeID"] == self._node.node_id for node in ray.nodes()):
            sleep(0.1)
        return "noticed it"

    def _update(self) -> str:
        deploy("de")
        return "updated both deployments"


async def scenario(cluster: Cluster, node: Any, *, sessions: int = 50) -> Summary:
    """All of it, on a cluster that `two_nodes` made; afterwards nothing is deployed.

    Returns:
        What became of every call. Whether that is good enough is the caller's to say; what
        must not be is in `Summary.wrong` and `Summary.left`.
    """
    stt, tts = await anyio.to_thread.run_sync(deploy, "en")
    async with stt, tts:
        callers = _Callers(stt, tts, sessions)
        await callers.everybody(meanwhile=_Trouble(cluster, node, sessions * _UTTERANCES))
        summary = callers.summary
        summary.retried = stt.statistics().retried + tts.statistics().retried
        summary.left = await _left(stt, tts)
    return summary


async def _left(stt: RaySTTEngine, tts: RayTTSEngine) -> list[str]:
    """What is still at work once all callers have gone, and does not end by itself."""
    left: list[str] = []
    with anyio.move_on_after(_PATIENCE):
        while left := [  # noqa: ASYNC110 - it is not told
            *_in_admission(stt, tts),
            *await anyio.to_thread.run_sync(_in_replicas),
        ]:
            await anyio.sleep(0.1)
    return left


def _in_admission(*engines: RaySTTEngine | RayTTSEngine) -> Iterable[str]:
    for engine in engines:
        now = engine.statistics()
        if now.running or now.waiting:
            yield f"{now} in the admission"


def _in_replicas() -> list[str]:
    names = ("scenario-stt", "scenario-tts")
    everyone = [replica for name in names for replica in replicas_of(name)]
    left = [f"{each.ongoing} calls in {each.name}" for each in everyone if each.ongoing]
    if len(everyone) != _HEARING + _SPEAKING:
        left.append(f"{len(everyone)} replicas instead of {_HEARING + _SPEAKING}")
    return left


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ray_cluster", description=(__doc__ or "").partition("\n\n")[0]
    )
    parser.add_argument("--sessions", type=int, default=50)
    options = parser.parse_args(arguments)
    with two_nodes() as (cluster, node):
        summary = anyio.run(partial(scenario, cluster, node, sessions=options.sessions))
    print(summary)
    return 0 if summary.holds and summary.sessions == options.sessions else 1


if __name__ == "__main__":
    sys.exit(main())
