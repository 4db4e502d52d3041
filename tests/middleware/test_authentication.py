"""Authentication: who may call, and that nothing about tokens gets out."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from realtime_stts import AudioData, ConversationContext, TranscriptionResult, request_scope
from realtime_stts.errors import AuthenticationError, PermissionDeniedError
from realtime_stts.middleware import Chain, LoggingMiddleware, Observation, Observer, RequestContext
from realtime_stts.middleware.authentication import AuthenticationMiddleware, Principal
from realtime_stts.testing import (
    MiddlewareSuite,
    ScriptedResponseGenerator,
    ScriptedSTTEngine,
    ScriptedTTSEngine,
)

pytestmark = pytest.mark.anyio

TOKEN = "s3cret-of-ada-0123456789"
ADA = Principal("ada", {"tts", "response"})


class TestPromises(MiddlewareSuite):
    def middleware(self) -> AuthenticationMiddleware:
        return AuthenticationMiddleware(
            {TOKEN: ADA},
            allow_anonymous=True,
            anonymous_permissions={"stt", "tts", "response"},
        )


class Subjects(Observer):
    """Keeps who each call turned out to be for."""

    def __init__(self) -> None:
        super().__init__("subjects")
        self.seen: list[str | None] = []

    def observe(self, context: RequestContext) -> Observation:
        keep = self.seen.append

        class Seen:
            def result(self, result: Any) -> None: ...

            def end(self, error: BaseException | None) -> None:
                keep(context.subject)

        return Seen()


class Directory:
    """Knows tokens, and how often it was asked."""

    def __init__(self, **known: Principal) -> None:
        self.known = known
        self.n_asked = 0

    async def __call__(self, token: str) -> Principal | None:
        self.n_asked += 1
        await anyio.sleep(0.1)
        return self.known.get(token)


async def speak(authentication: AuthenticationMiddleware, **scope: Any) -> None:
    tts = Chain(authentication).wrap(ScriptedTTSEngine())
    with request_scope(**scope):
        await tts.synthesize("hello", {})


async def test_a_known_token_lets_in_and_says_who_it_is() -> None:
    subjects, engine = Subjects(), ScriptedTTSEngine()
    tts = Chain(subjects, AuthenticationMiddleware({TOKEN: ADA})).wrap(engine)
    with request_scope(token=TOKEN):
        await tts.synthesize("hello", {})
        assert [chunk async for chunk in tts.stream("hello")]
    assert subjects.seen == ["ada", "ada"]


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + " ", "\ud800"])
async def test_all_others_are_refused_in_the_same_words_before_the_engine(
    token: str | None,
) -> None:
    engine = ScriptedTTSEngine()
    tts = Chain(AuthenticationMiddleware({TOKEN: ADA})).wrap(engine)
    with (
        request_scope(token=token),
        pytest.raises(AuthenticationError, match=r"^the call carries no token that is known here$"),
    ):
        await tts.synthesize("hello", {})
    assert not engine.calls


async def test_who_is_known_may_still_not_do_everything() -> None:
    stt = Chain(AuthenticationMiddleware({TOKEN: ADA})).wrap(ScriptedSTTEngine(["hello"]))
    with request_scope(token=TOKEN), pytest.raises(PermissionDeniedError, match="type stt"):
        await stt.transcribe(AudioData.silence(1.0, 16_000))


async def test_the_permission_needed_can_have_another_name() -> None:
    lector = Principal("lector", ["read-aloud"])
    authentication = AuthenticationMiddleware({TOKEN: lector}, required={"tts": "read-aloud"})
    await speak(authentication, token=TOKEN)
    stt = Chain(authentication).wrap(ScriptedSTTEngine(["hello"]))
    with request_scope(token=TOKEN), pytest.raises(PermissionDeniedError):
        await stt.transcribe(AudioData.silence(1.0, 16_000))  # a type not named needs itself


async def test_a_responder_finds_the_token_where_the_contract_has_it() -> None:
    responder = Chain(AuthenticationMiddleware({TOKEN: ADA})).wrap(
        ScriptedResponseGenerator(["Hi."] * 2)
    )
    said = TranscriptionResult("hello", "en", [])
    context = ConversationContext(user_data={"auth_token": TOKEN, "permissions": ["everything"]})
    assert await responder.generate_response(said, context) == "Hi."
    with pytest.raises(AuthenticationError):
        await responder.generate_response(said, ConversationContext())
    with pytest.raises(AuthenticationError):
        await responder.generate_response(said, ConversationContext(user_data={"auth_token": 7}))
    with request_scope(token="wrong"), pytest.raises(AuthenticationError):
        await responder.generate_response(said, context)  # the scope's is the one that counts


async def test_permissions_come_from_the_server_only() -> None:
    authentication = AuthenticationMiddleware({TOKEN: Principal("eve", ())})
    responder = Chain(authentication).wrap(ScriptedResponseGenerator(["Hi."]))
    context = ConversationContext(user_data={"auth_token": TOKEN, "permissions": ["response"]})
    with pytest.raises(PermissionDeniedError):
        await responder.generate_response(TranscriptionResult("hello", "en", []), context)


async def test_nobody_in_particular_may_do_what_is_said_and_no_more() -> None:
    authentication = AuthenticationMiddleware(
        {TOKEN: ADA}, allow_anonymous=True, anonymous_permissions=["tts"]
    )
    subjects = Subjects()
    tts = Chain(subjects, authentication).wrap(ScriptedTTSEngine())
    await tts.synthesize("hello", {})
    assert subjects.seen == [None]
    with pytest.raises(PermissionDeniedError):
        await (
            Chain(authentication)
            .wrap(ScriptedSTTEngine([]))
            .transcribe(AudioData.silence(1.0, 16_000))
        )
    with pytest.raises(AuthenticationError):  # a wrong token is not none
        await speak(authentication, token="wrong")


async def test_a_session_is_checked_once_and_again_after_a_while() -> None:
    directory = Directory(good=ADA)
    authentication = AuthenticationMiddleware(directory, ttl=60.0)
    for _ in range(3):
        await speak(authentication, token="good", session_id="s1")
    assert directory.n_asked == 1
    await speak(authentication, token="good", session_id="s2")
    assert directory.n_asked == 2
    await anyio.sleep(60.0)
    del directory.known["good"]  # revoked
    with pytest.raises(AuthenticationError):
        await speak(authentication, token="good", session_id="s1")
    assert authentication.statistics().sessions == 1


async def test_calls_without_a_session_are_checked_each() -> None:
    directory = Directory(good=ADA)
    authentication = AuthenticationMiddleware(directory)
    for _ in range(2):
        await speak(authentication, token="good")
    assert directory.n_asked == 2
    assert authentication.statistics().sessions == 0


async def test_another_token_in_a_session_is_another_check() -> None:
    authentication = AuthenticationMiddleware(Directory(good=ADA))
    await speak(authentication, token="good", session_id="s1")
    with pytest.raises(AuthenticationError):
        await speak(authentication, token="bad", session_id="s1")


async def test_so_many_sessions_are_remembered_and_the_one_unused_for_longest_goes() -> None:
    directory = Directory(good=ADA)
    authentication = AuthenticationMiddleware(directory, max_sessions=2)
    for session in ("s1", "s2", "s1", "s3"):
        await speak(authentication, token="good", session_id=session)
    assert (directory.n_asked, authentication.statistics().sessions) == (3, 2)
    await speak(authentication, token="good", session_id="s1")
    assert directory.n_asked == 3
    await speak(authentication, token="good", session_id="s2")
    assert directory.n_asked == 4


async def test_a_validator_need_not_be_async() -> None:
    await speak(AuthenticationMiddleware({"good": ADA}.get), token="good")


async def test_a_validators_refusal_is_in_our_words_and_its_failure_names_its_type() -> None:
    def refuses(token: str) -> Principal | None:
        raise AuthenticationError(f"{token} has expired")

    def fails(token: str) -> Principal | None:
        raise ConnectionError(f"GET /introspect?token={token}")

    with pytest.raises(AuthenticationError, match="no token that is known"):
        await speak(AuthenticationMiddleware(refuses), token=TOKEN)
    with pytest.raises(RuntimeError, match=r"could not be checked \(ConnectionError\)") as raised:
        await speak(AuthenticationMiddleware(fails), token=TOKEN)
    assert raised.value.__context__ is None  # which a report of the error would show


async def test_no_token_gets_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    authentication = AuthenticationMiddleware({TOKEN: ADA})
    tts = Chain(LoggingMiddleware(log_text=True), authentication).wrap(ScriptedTTSEngine())
    stt = Chain(LoggingMiddleware(log_text=True), authentication).wrap(ScriptedSTTEngine([]))
    with request_scope(token=TOKEN, session_id="s1"):
        await tts.synthesize("hello", {})
        with pytest.raises(PermissionDeniedError) as denied:
            await stt.transcribe(AudioData.silence(1.0, 16_000))
    with request_scope(token=TOKEN + "x"), pytest.raises(AuthenticationError) as unknown:
        await tts.synthesize("hello", {})
    shown = [repr(vars(record)) for record in caplog.records]
    shown += [repr(denied.value), repr(unknown.value), str(vars(authentication)), repr(tts)]
    shown += [repr(authentication.get_auth_statistics()), repr(authentication.statistics())]
    assert not [text for text in shown if TOKEN in text]


async def test_statistics_under_the_contracts_names() -> None:
    authentication = AuthenticationMiddleware({TOKEN: ADA}, required={"stt": "listen"})
    assert authentication.get_auth_statistics()["success_rate_percent"] == 0.0
    await speak(authentication, token=TOKEN)
    for token in (None, "wrong"):
        with pytest.raises(AuthenticationError):
            await speak(authentication, token=token)
    stt = Chain(authentication).wrap(ScriptedSTTEngine([]))
    with request_scope(token=TOKEN), pytest.raises(PermissionDeniedError):
        await stt.transcribe(AudioData.silence(1.0, 16_000))
    assert authentication.get_auth_statistics() == {
        "total_attempts": 4,
        "successful_authentications": 1,
        "failed_authentications": 3,
        "success_rate_percent": 25.0,
        "allow_anonymous": False,
        "required_permissions": {"stt": "listen"},
    }
    counted = authentication.statistics()
    assert (counted.unknown, counted.denied, counted.anonymous) == (2, 1, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: AuthenticationMiddleware({"": ADA}),
        lambda: AuthenticationMiddleware({}, allow_anonymous=True),
        lambda: AuthenticationMiddleware({}, anonymous_permissions=["tts"]),
        lambda: AuthenticationMiddleware({}, ttl=-1.0),
        lambda: AuthenticationMiddleware({}, ttl=float("nan")),
        lambda: AuthenticationMiddleware({}, max_sessions=0),
        lambda: Principal("", ["tts"]),
        lambda: Principal("ada", "tts"),
    ],
)
def test_what_would_not_be_meant_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        wrong()
