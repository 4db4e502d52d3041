"""One of each thing that an instrumentation is told."""

from __future__ import annotations

from realtime_stts.instrumentation import CallDetails, LoadDetails, SessionDetails, TurnDetails

CALL = CallDetails(
    request_type="tts",
    engine="mouth",
    streaming=True,
    outcome="completed",
    started_at=0.0,
    duration=3.0,
    request_id="r1",
    session_id="s1",
    subject="ada",
    voice="bo",
    time_to_first_result=0.125,
    engine_time=0.5,
    consumer_time=2.0,
    audio_seconds=2.5,
    characters=40,
    n_results=3,
    queue_wait=0.25,
    attempts=3,
    cache="miss",
)
LOAD = LoadDetails(engine="mouth", outcome="completed", started_at=0.0, duration=4.0)
TURN = TurnDetails(
    session_id="s1",
    request_id="s1-1",
    turn=1,
    outcome="answered",
    ended_at=0.0,
    time_to_first_audio=0.9,
    end_of_turn_delay=0.4,
    transcription_delay=0.2,
    time_to_first_text=0.1,
    tts_time_to_first_byte=0.15,
    handover_delay=0.05,
    interruptions=2,
)
SESSION = SessionDetails(
    session_id="s1",
    reason="input ended",
    ended_at=0.0,
    audio_seconds=60.0,
    turns=5,
    dropped_turns=1,
    undelivered_events=3,
)
