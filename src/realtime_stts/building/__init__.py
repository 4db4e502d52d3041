"""Settings become chains, engines and conversations.

    async with build_engine(store.current, "stt") as stt:
        result = await stt.transcribe(audio)

The chain's order, from the outermost, and why:

0. ``defaults``: language, voice and manner of calls that say nothing of them.
1. ``redaction``: all that is further in sees pseudonyms, and no error leaves without it.
2. ``timing``, instrumentation, ``logging``, ``analytics``: they see whole calls, waits,
   refusals and answers from the cache included.
3. ``audit`` outside of ``authentication``: refused calls have records too.
4. ``authentication`` before anything is spent; ``rate_limit`` goes by who that found.
5. ``text_normalizer`` before ``cache``: what is spoken alike is kept once.
6. ``cache`` outside of all limits: a known answer costs nothing, and what is kept is finished.
7. ``load_shed`` refuses before anything waits.
8. ``silence_trim`` around ``loudness_match``: its threshold is of matched sound, which
   loudness, being gated, does not need in turn. Both, and ``hallucination_guard``, are around
   ``fallback``: they treat all engines alike.
9. ``fallback`` outside of ``timeout`` and ``concurrency_limit``: a first engine that hangs or
   is full is a reason to ask the next.
10. ``timeout`` outside of ``concurrency_limit`` and ``retry``: waits and attempts are within
    the caller's time.
11. ``concurrency_limit`` outside of ``retry``: repeated calls keep their slot, and load stays
    bounded when everything fails.
12. ``retry`` outside of ``circuit_breaker``: each attempt is counted, and an open circuit
    ends the attempts.
13. ``speech_guard`` innermost: it judges what the engine made, before anything changes it.

Engines that stand by have a ``timeout`` and a ``speech_guard`` of their own.
"""

from ._assembly import Assembly, build_chain, build_conversation, build_engine
from ._layers import Kind

__all__ = ["Assembly", "Kind", "build_chain", "build_conversation", "build_engine"]
