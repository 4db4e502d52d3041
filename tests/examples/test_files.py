"""Recordings are checked before anybody can hear them, and go without a trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("httpx")
pytest.importorskip("uvicorn")

import httpx
import numpy as np

from realtime_stts import AudioData
from realtime_stts.errors import OverloadedError, UnknownVoiceError
from tests.examples.management_tools import CONSENT, Served, as_files, recording, served

KINDS = {
    "reference-audio": ("all_reference_files", "remaining_files", "ref-"),
    "predefined-voices": ("all_predefined_voices", "remaining_voices", ""),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("files"), {"limits.max_voice_mb": 0.2}) as it:
        yield it


@pytest.fixture
def server(shared: Served) -> Iterator[Served]:
    """The server without uploaded voices; afterwards there is nothing half-written."""
    yield shared
    for voice in shared.services.voices.list():
        shared.services.voices.delete(voice.id)
    assert not [*(shared.folder / "outputs" / "voices").iterdir()]


def upload(
    server: Served,
    kind: str = "reference-audio",
    *,
    data: dict[str, str] | None = None,
    **files: bytes,
) -> httpx.Response:
    return server.owner.post(
        f"/files/{kind}/upload", files=as_files(**files), data=CONSENT if data is None else data
    )


# -- uploads


@pytest.mark.parametrize("kind", KINDS)
def test_an_upload_makes_voices(server: Served, kind: str) -> None:
    answer = upload(server, kind, Emily_wav=recording(1), Max_flac=recording(2, format="flac"))
    listed, _, prefix = KINDS[kind]
    assert answer.status_code == 200
    body = answer.json()
    assert body["message"] == "2 taken."
    assert body["uploaded_files"] == [f"{prefix}emily.wav", f"{prefix}max.wav"]
    assert body["errors"] == []
    assert body[listed] == server.anybody.get(f"/files/{kind}").json()
    names = [each if isinstance(each, str) else each["filename"] for each in body[listed]]
    assert {*body["uploaded_files"]} <= {*names}


def test_consent_is_recorded_with_its_time(server: Served) -> None:
    upload(server, Emily_wav=recording())
    info = server.owner.get("/files/reference-audio/ref-emily.wav/info").json()
    assert info["consent"]["by"] == CONSENT["consent_by"]
    assert info["consent"]["statement"] == CONSENT["consent_statement"]
    assert info["consent"]["at"].endswith(("Z", "+00:00"))


@pytest.mark.parametrize("missing", CONSENT)
@pytest.mark.parametrize("instead", [None, " "])
def test_without_consent_nothing_is_taken(
    server: Served, missing: str, instead: str | None
) -> None:
    data = {name: text for name, text in CONSENT.items() if name != missing}
    if instead is not None:
        data[missing] = instead
    answer = upload(server, data=data, Emily_wav=recording())
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "consent_missing"
    assert server.anybody.get("/files/reference-audio").json() == []


def test_consent_is_no_novel(server: Served) -> None:
    data = {**CONSENT, "consent_statement": "x" * 10_001}
    assert upload(server, data=data, Emily_wav=recording()).status_code == 400


def bad_files() -> dict[str, tuple[bytes, int, str]]:
    clipped = AudioData.from_samples(np.ones(3 * 16_000), 16_000).encode("wav")
    quiet = AudioData.from_samples(np.zeros(3 * 16_000), 16_000).encode("flac")
    return {
        "text": (b"Hello", 415, "unsupported_audio"),
        "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), 415, "unsupported_audio"),
        "nothing": (b"", 400, "empty_file"),
        "half a file": (recording(format="flac")[:5000], 422, "unusable_audio"),
        "too large": (b"RIFF" + bytes(300_000), 413, "too_large"),
        "too short": (recording(seconds=1.0), 422, "unusable_voice"),
        "too long": (recording(seconds=31.0, format="mp3"), 413, "audio_too_long"),
        "clipped": (clipped, 422, "unusable_voice"),
        "silent": (quiet, 422, "unusable_voice"),
    }


BAD = bad_files()


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_voice_is_refused_with_the_reason(server: Served, what: str) -> None:
    content, status, code = BAD[what]
    answer = upload(server, Emily_wav=content)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code), answer.text
    assert "Emily.wav: " in answer.json()["detail"]
    assert str(server.folder) not in answer.text

    checked = server.owner.post("/files/validate", files={"file": ("Emily.wav", content)})
    assert checked.status_code == 200
    assert checked.json()["is_valid"] is False
    assert checked.json()["error_code"] == code
    assert checked.json()["message"]


def test_the_good_files_of_an_upload_are_taken(server: Served) -> None:
    answer = upload(server, Emily_wav=recording(), Text_wav=b"Hello")
    assert answer.status_code == 200
    assert answer.json()["message"] == "1 taken, 1 refused."
    assert answer.json()["all_reference_files"] == ["ref-emily.wav"]
    (error,) = answer.json()["errors"]
    assert (error["filename"], error["status"], error["error_code"]) == (
        "Text.wav",
        415,
        "unsupported_audio",
    )


def test_files_that_fail_in_several_ways_are_a_bad_request(server: Served) -> None:
    answer = upload(server, Empty_wav=b"", Text_wav=b"Hello")
    assert (answer.status_code, answer.json()["error_code"]) == (400, "no_file_taken")


def test_a_name_is_taken_once(server: Served) -> None:
    assert upload(server, Emily_wav=recording(1)).status_code == 200
    again = upload(server, EMILY_mp3=recording(2))
    assert (again.status_code, again.json()["error_code"]) == (409, "voice_exists")
    # As a voice for all, it is another one.
    assert upload(server, "predefined-voices", Emily_wav=recording(3)).status_code == 200


def test_the_engines_names_are_taken(server: Served) -> None:
    answer = upload(server, "predefined-voices", scripted_wav=recording())
    assert (answer.status_code, answer.json()["error_code"]) == (409, "voice_exists")


def test_a_recording_is_taken_once(server: Served) -> None:
    assert upload(server, Emily_wav=recording(1)).status_code == 200
    again = upload(server, Other_flac=recording(1))
    assert (again.status_code, again.json()["error_code"]) == (409, "recording_exists")
    assert "Emily" in again.json()["detail"]
    assert server.anybody.get("/files/reference-audio").json() == ["ref-emily.wav"]


def test_of_two_uploads_at_once_one_wins(server: Served) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(lambda seed: upload(server, Emily_wav=recording(seed)), range(4))]
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert server.anybody.get("/files/reference-audio").json() == ["ref-emily.wav"]


def test_there_are_at_most_so_many_voices(tmp_path: Path) -> None:
    with served(tmp_path, {"limits.max_voices": 2}) as it:
        answer = upload(it, A_wav=recording(1), B_wav=recording(2), C_wav=recording(3))
        (error,) = answer.json()["errors"]
        assert (error["filename"], error["error_code"]) == ("C.wav", "too_many_voices")
        assert it.owner.delete("/files/reference-audio/ref-a.wav").status_code == 200
        assert upload(it, C_wav=recording(3)).status_code == 200


def test_an_upload_has_a_bounded_number_of_files(server: Served) -> None:
    assert upload(server, **{f"f{n}_wav": b"" for n in range(21)}).status_code == 413


@pytest.mark.parametrize(
    ("name", "filename"),
    [
        ("../../../evil.wav", "ref-evil.wav"),
        ("/etc/cron.d/evil.wav", "ref-evil.wav"),
        ("..\\..\\evil.wav", "ref-evil.wav"),
        ("evil\0.wav", "ref-evil.wav"),
        (".ssh", "ref-ssh.wav"),
        ("a" * 1000 + ".wav", f"ref-{'a' * 56}.wav"),
    ],
    ids=range(6),
)
def test_no_name_leads_anywhere(server: Served, name: str, filename: str) -> None:
    before = {*server.folder.rglob("*")}
    # By hand: a client's library would not send every name as it is.
    head = 'Content-Disposition: form-data; name="{}"'
    parts = [(head.format(key), text.encode()) for key, text in CONSENT.items()]
    escaped = name.replace("\\", "\\\\")
    parts.append((f'{head.format("files")}; filename="{escaped}"', recording()))
    body = b"".join(b"--x\r\n%b\r\n\r\n%b\r\n" % (h.encode(), part) for h, part in parts)
    answer = server.owner.post(
        "/files/reference-audio/upload",
        content=body + b"--x--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["uploaded_files"] == [filename]
    voices = server.folder / "outputs" / "voices"
    new = {*server.folder.rglob("*")} - before
    assert all(path.is_relative_to(voices) for path in new)
    assert server.owner.delete(f"/files/reference-audio/{filename}").status_code == 200


def test_a_full_disk_is_said_and_leaves_nothing(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = server.services.voices
    folder = registry._folder
    monkeypatch.setattr(registry, "_folder", folder / "is" / "not" / "there")
    answer = upload(server, Emily_wav=recording())
    assert (answer.status_code, answer.json()["error_code"]) == (507, "storage_failed")
    assert str(folder) not in answer.text
    monkeypatch.setattr(registry, "_folder", folder)
    assert upload(server, Emily_wav=recording()).status_code == 200


# -- what is there


def test_a_good_file_is_said_to_be_good(server: Served) -> None:
    content = recording(format="ogg")
    answer = server.owner.post("/files/validate", files={"file": ("Emily.ogg", content)}).json()
    assert answer["is_valid"] is True
    assert answer["seconds"] == pytest.approx(3.2, abs=0.01)
    assert (answer["sample_rate"], answer["channels"]) == (16_000, 1)
    assert server.anybody.get("/files/reference-audio").json() == []


def test_a_recording_can_be_had_again(server: Served) -> None:
    upload(server, Emily_wav=recording(5))
    answer = server.owner.get("/files/reference-audio/Emily.wav")
    assert answer.headers["content-type"] == "audio/wav"
    assert 'filename="ref-emily.wav"' in answer.headers["content-disposition"]
    ours, theirs = (AudioData.from_file(each) for each in (recording(5), answer.content))
    assert np.allclose(ours.samples, theirs.samples, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_known_of_a_voice(server: Served, kind: str) -> None:
    prefix = KINDS[kind][2]
    upload(server, kind, data={**CONSENT, "language": "en"}, Emily_wav=recording())
    info = server.owner.get(f"/files/{kind}/Emily.wav/info").json()
    assert info["filename"] == info["path"] == f"{prefix}emily.wav"
    assert info["size_bytes"] > 10_000
    assert info["validation"] == {"is_valid": True, "message": "It is whole."}
    assert (info["name"], info["language"]) == ("Emily", "en")
    assert info["seconds"] == pytest.approx(3.2)


def test_of_the_engines_own_there_is_no_recording(server: Served) -> None:
    info = server.owner.get("/files/predefined-voices/scripted.wav/info").json()
    assert (info["size_bytes"], info["consent"]) == (0, None)
    refused = server.owner.delete("/files/predefined-voices/scripted.wav")
    assert (refused.status_code, refused.json()["error_code"]) == (409, "voice_built_in")


def test_formats(server: Served) -> None:
    formats = server.anybody.get("/files/supported_formats").json()
    assert {"wav", "mp3", "flac", "ogg"} <= {*formats["upload"]}
    assert formats["max_size_mb"] == 0.2


# -- deletion


@pytest.mark.parametrize("kind", KINDS)
def test_a_deleted_voice_leaves_nothing(server: Served, kind: str) -> None:
    upload(server, kind, Emily_wav=recording())
    answer = server.owner.delete(f"/files/{kind}/Emily.wav")
    assert answer.status_code == 200
    left = answer.json()[KINDS[kind][1]]
    assert left == server.anybody.get(f"/files/{kind}").json()
    assert "emily" not in json.dumps(left)
    assert not [*(server.folder / "outputs" / "voices").iterdir()]
    assert server.owner.delete(f"/files/{kind}/Emily.wav").status_code == 404
    assert server.owner.get(f"/files/{kind}/Emily.wav/info").status_code == 404


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["DELETE", "GET"])
@pytest.mark.parametrize(
    "name",
    [
        "..%2F..%2Fconfig.yaml",
        "%2Fetc%2Fpasswd",
        "..%5C..%5Cx",
        "emily%00.wav",
        "%2e%2e",
        "x" * 9000,
    ],
    ids=range(6),
)
def test_no_path_is_read_or_deleted(server: Served, kind: str, method: str, name: str) -> None:
    bait = server.folder / "config.yaml"
    bait.write_text("server: {}")
    answer = server.owner.request(method, f"/files/{kind}/{name}")
    assert answer.status_code in (404, 405, 422)
    assert bait.read_text() == "server: {}"


# -- storage


def test_what_uploads_take(server: Served) -> None:
    nothing = {"size_bytes": 0, "size_mb": 0.0, "file_count": 0}
    assert server.owner.get("/files/storage/usage").json() == {
        "reference_audio": {"path": "reference-audio", **nothing},
        "predefined_voices": {"path": "predefined-voices", **nothing},
        "total": nothing,
    }
    upload(server, Emily_wav=recording(1))
    upload(server, "predefined-voices", A_wav=recording(2), B_wav=recording(3))
    usage = server.owner.get("/files/storage/usage").json()
    assert usage["reference_audio"]["file_count"] == 1
    assert usage["predefined_voices"]["file_count"] == 2
    on_disk = sum(
        path.stat().st_size
        for path in (server.folder / "outputs" / "voices").rglob("*")
        if path.is_file()
    )
    assert usage["total"]["size_bytes"] == on_disk
    assert usage["total"]["file_count"] == 3


def damage(server: Served, voice_id: str) -> None:
    path = server.folder / "outputs" / "voices" / f"voice-{voice_id}" / "reference.flac"
    path.write_bytes(b"something else")


@pytest.mark.parametrize("path", ["/files/cleanup", "/files/storage/cleanup"])
def test_damaged_recordings_are_found_and_cleaned_up(server: Served, path: str) -> None:
    upload(server, Emily_wav=recording(1), Max_wav=recording(2))
    assert server.owner.get("/files/storage/health").json()["status"] == "healthy"
    damage(server, "ref-emily")
    health = server.owner.get("/files/storage/health").json()
    assert (health["status"], health["voices"], health["max_voices"]) == ("degraded", 2, 100)
    assert health["free_bytes"] > 0
    info = server.owner.get("/files/reference-audio/ref-emily.wav/info").json()
    assert info["validation"]["is_valid"] is False

    removed = [
        {
            "file": "ref-emily.wav",
            "type": "reference",
            "reason": "The recording was changed or lost.",
        }
    ]
    assert health["damaged"] == removed
    dry = server.owner.post(path, params={"dry_run": True}).json()
    assert (dry["removed_files"], dry["remaining"]["reference_files"]) == (removed, 2)
    assert dry["message"] == "1 damaged recordings would be removed."
    wet = server.owner.post(path).json()
    assert (wet["removed_files"], wet["remaining"]["reference_files"]) == (removed, 1)
    assert wet["errors"] == []
    assert server.anybody.get("/files/reference-audio").json() == ["ref-max.wav"]


def test_what_cannot_be_removed_is_said(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(server, Emily_wav=recording(1))
    damage(server, "ref-emily")

    def refuse(voice_id: str) -> None:
        raise PermissionError("/secret/path")

    with monkeypatch.context() as patch:
        patch.setattr(server.services.voices, "delete", refuse)
        answer = server.owner.post("/files/cleanup")
    assert answer.json()["removed_files"] == []
    assert answer.json()["errors"][0]["error_code"] == "storage_failed"
    assert "/secret" not in answer.text


def test_a_damaged_recording_cannot_be_had(server: Served) -> None:
    upload(server, Emily_wav=recording(1))
    damage(server, "ref-emily")
    answer = server.owner.get("/files/reference-audio/ref-emily.wav")
    assert (answer.status_code, answer.json()["error_code"]) == (409, "recording_damaged")


def test_a_voice_deleted_meanwhile_is_unknown(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(server, Emily_wav=recording(1))

    def gone(voice_id: str, *rest: Any) -> None:
        raise UnknownVoiceError(voice_id, ())

    monkeypatch.setattr(server.services.voices, "recording", gone)
    assert server.owner.get("/files/reference-audio/ref-emily.wav").status_code == 404
    assert server.owner.get("/files/storage/health").json()["damaged"] == []


def test_a_busy_server_says_nothing_about_the_file(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(*args: Any, **options: Any) -> None:
        raise OverloadedError("too many", retry_after=1.0)

    monkeypatch.setattr(server.services.decoder, "decode", busy)
    for answer in (
        server.owner.post("/files/validate", files={"file": ("a.wav", recording())}),
        upload(server, Emily_wav=recording()),
    ):
        assert (answer.status_code, answer.json()["error_code"]) == (503, "overloaded")
        assert int(answer.headers["Retry-After"]) >= 1


def test_what_cannot_be_deleted_stays(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(server, Emily_wav=recording(1))

    def refuse(voice_id: str) -> None:
        raise PermissionError("/secret/path")

    with monkeypatch.context() as patch:
        patch.setattr(server.services.voices, "delete", refuse)
        answer = server.owner.delete("/files/reference-audio/ref-emily.wav")
    assert (answer.status_code, answer.json()["error_code"]) == (507, "storage_failed")
    assert server.anybody.get("/files/reference-audio").json() == ["ref-emily.wav"]


@pytest.mark.parametrize("error", [UnknownVoiceError("ref-emily", ()), None])
def test_whoever_cleans_up_later_finds_nothing(
    server: Served, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """Two clean up at once: what the other one removed is removed for this one too."""
    upload(server, Emily_wav=recording(1))
    damage(server, "ref-emily")
    delete = server.services.voices.delete

    def slower(voice_id: str) -> None:
        delete(voice_id)
        if error is not None:
            raise error

    monkeypatch.setattr(server.services.voices, "delete", slower)
    answer = server.owner.post("/files/cleanup").json()
    assert (len(answer["removed_files"]), answer["errors"]) == (1, [])


# -- who may


MANAGED = [
    ("POST", "/files/reference-audio/upload"),
    ("POST", "/files/predefined-voices/upload"),
    ("POST", "/files/validate"),
    ("GET", "/files/reference-audio/x.wav"),
    ("GET", "/files/reference-audio/x.wav/info"),
    ("GET", "/files/predefined-voices/x.wav/info"),
    ("DELETE", "/files/reference-audio/x.wav"),
    ("DELETE", "/files/predefined-voices/x.wav"),
    ("GET", "/files/storage/usage"),
    ("GET", "/files/storage/health"),
    ("POST", "/files/cleanup"),
    ("POST", "/files/storage/cleanup"),
]


@pytest.mark.parametrize(("method", "path"), MANAGED)
def test_only_the_owner(shared: Served, method: str, path: str) -> None:
    more: Any = {}
    if path.endswith("upload"):
        more = {"files": as_files(A_wav=recording()), "data": CONSENT}
    elif path.endswith("validate"):
        more = {"files": {"file": ("a.wav", recording())}}
    assert shared.anybody.request(method, path, **more).status_code == 401
