"""The page, in a real browser, on a real server with the embedded engines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx")
pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")
pytest.importorskip("pocketsphinx")
pytest.importorskip("playwright")

import httpx
from fastapi_server import create_app
from playwright.sync_api import Page, expect

from realtime_stts import AudioData, TranscriptionResult
from tests.examples.apps import OWNER, running, scripted_app, settings_in, soon
from tests.examples.browser import CHROMIUM, browsers, silence, speech, write_wav

if not CHROMIUM.exists():
    pytest.skip(f"there is no browser at {CHROMIUM}", allow_module_level=True)

expect.set_options(timeout=15_000)  # on a busy machine

VIEWS = ("talk", "speak", "transcribe", "voices", "settings", "analytics")
PHRASES = ("hello there", "what time is it")
PHONE = {"width": 360, "height": 740}


async def answer(transcription: TranscriptionResult, context: Any) -> str:
    """A long story, unless there is no time for one."""
    if "time" in transcription.text:
        return "I carry no watch. But there is always time for a good talk."
    return "Hello! It is good to hear you. " + "There is so much to tell, and so it began. " * 5


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("recordings")
    hello, time = speech(*PHRASES)
    # The second phrase is said while the answer to the first is heard, however late that is.
    call = [silence(2.5), hello, silence(5), time, silence(10)]
    return {
        "call": write_wav(folder / "call.wav", call),
        "question": write_wav(folder / "question.wav", [silence(2.5), time, silence(8)]),
        "quiet": write_wav(folder / "quiet.wav", [silence(1)]),
        "time": write_wav(folder / "time.wav", [silence(0.3), time, silence(0.5)]),
    }


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, recordings: dict[str, Path]) -> Iterator[str]:
    settings = {
        "stt_engine.options": {"phrases": [*PHRASES]},
        "conversation.partial_interval": 0.2,
    }
    store = settings_in(tmp_path_factory.mktemp("server"), settings)
    with running(create_app(store, management_token=OWNER, responder=answer)) as url:
        yield url


@pytest.fixture(scope="module")
def chromium(url: str) -> Iterator[Any]:
    with browsers() as started:
        yield started


@pytest.fixture
def page(chromium: Any, url: str) -> Iterator[Page]:
    """Of somebody who has no microphone."""
    with chromium.page(url) as page:
        yield page


@pytest.fixture(scope="module")
def modules(chromium: Any, url: str) -> Iterator[Page]:
    """One on which nothing is pressed."""
    with chromium.page(url) as page:
        yield page


@pytest.fixture
def owners(chromium: Any, url: str) -> Iterator[Page]:
    """Of somebody who has opened the link that the server printed."""
    with chromium.page(f"{url}/#token={OWNER}") as page:
        yield page


def fact(page: Page, name: str) -> float:
    """One of the figures under "Connection and sound"."""
    return float(page.text_content(f"[data-fact={name}]").split()[0])  # type: ignore[union-attr]


def level(page: Page) -> float:
    """Of the answer, as the loudspeaker gets it, in dB; -60 is silence."""
    return float(page.get_attribute("#meter-answer", "aria-valuenow") or 0)


def test_the_routes_are_described_without_anybody_elses_scripts(chromium: Any, url: str) -> None:
    pytest.importorskip("fastapi_offline")
    with chromium.page(f"{url}/docs") as page:
        expect(page.get_by_role("heading", name="Realtime STTS")).to_be_visible()
        expect(page.locator("#operations-tag-default, .opblock").first).to_be_visible()


# -- talking


def test_a_conversation_is_seen_and_heard_and_can_be_interrupted(
    chromium: Any, url: str, recordings: dict[str, Path]
) -> None:
    with chromium.page(url, microphone=recordings["call"]) as page:
        page.evaluate(_WATCH_WORDS)
        page.click("#talk-button")
        you, answers = page.locator(".turn.you p"), page.locator(".turn.answer")

        expect(you.first).to_have_text("hello there")
        assert page.evaluate("uncertain.size") > 0  # words were seen before they were certain
        soon(lambda: level(page) > -40)

        # The caller speaks over the answer: it stops, and the page shows what was heard of it.
        expect(answers.first).to_contain_text("Interrupted")
        expect(answers.first.locator(".unheard")).not_to_be_empty()
        soon(lambda: level(page) == -60)
        expect(answers.first.locator("figure")).to_contain_text("to the first sound")
        expect(page.locator("#latency-last")).to_have_text(re.compile(r"^\d\.\d\d s$"))

        expect(you.nth(1)).to_have_text("what time is it")
        soon(lambda: level(page) > -40)
        expect(answers.nth(1).locator("figure")).to_be_visible()  # it was heard to its end
        expect(answers.nth(1)).not_to_contain_text("Interrupted")
        assert fact(page, "played") > 2
        assert fact(page, "lost") == 0

        page.click("#talk-button")
        expect(page.locator("#talk-state")).to_have_text("Not connected")


_WATCH_WORDS = """() => {
  window.uncertain = new Set();
  new MutationObserver(() => {
    for (const words of document.querySelectorAll("[aria-busy=true] .unsettled")) {
      if (words.textContent) uncertain.add(words.textContent);
    }
  }).observe(document.querySelector("#transcript"), { childList: true, subtree: true });
}"""


def test_a_lost_connection_is_made_anew(
    chromium: Any, url: str, recordings: dict[str, Path]
) -> None:
    with chromium.page(microphone=recordings["quiet"]) as page:
        sockets: list[Any] = []

        def route(socket: Any) -> None:
            socket.connect_to_server()
            sockets.append(socket)

        page.route_web_socket("**/ws/**", route)
        page.goto(url)
        page.click("#talk-button")
        state = page.locator("#talk-state")
        expect(state).to_have_text("Listening")
        sockets[0].close(code=1011)
        expect(state).to_contain_text("Trying again")
        expect(state).to_have_text("Listening")
        assert len(sockets) == 2


def test_with_the_space_bar_a_turn_is_held_and_with_escape_its_answer_stops(
    chromium: Any, url: str, recordings: dict[str, Path]
) -> None:
    with chromium.page(microphone=recordings["question"]) as page:
        sent: list[str] = []

        def on_socket(socket: Any) -> None:
            socket.on("framesent", lambda data: isinstance(data, str) and sent.append(data))

        page.on("websocket", on_socket)
        page.goto(url)
        page.check("#ptt")
        page.click("#talk-button")
        button, state = page.locator("#ptt-button"), page.locator("#talk-state")
        expect(state).to_have_text("Listening")
        page.keyboard.down("Space")
        expect(button).to_have_attribute("aria-pressed", "true")
        expect(page.locator(".turn.you p")).to_have_text("what time is it")
        page.keyboard.up("Space")
        expect(button).to_have_attribute("aria-pressed", "false")

        soon(lambda: level(page) > -40)
        page.keyboard.press("Escape")
        expect(page.locator(".turn.answer")).to_contain_text("Interrupted")
        soon(lambda: level(page) == -60)
        expect(state).to_have_text("Listening")
        commands = [json.loads(text)["action"] for text in sent]
        assert [each for each in commands if each != "ping"] == [
            "begin_turn",
            "commit",
            "interrupt",
        ]


def test_without_a_microphone_it_is_said_what_to_do(page: Page) -> None:
    page.click("#talk-button")
    problem = page.locator("#talk-problem")
    expect(problem).to_contain_text("No microphone was found")
    expect(problem).to_contain_text("Plug one in")
    problem.get_by_role("link", name="have a text spoken").click()
    expect(page.locator("#view-speak")).to_be_visible()


def test_a_blocked_microphone_is_another_matter(
    chromium: Any, url: str, recordings: dict[str, Path]
) -> None:
    with chromium.page(url, microphone=recordings["quiet"], asks=True) as page:
        page.click("#talk-button")
        expect(page.locator("#talk-problem")).to_contain_text("The microphone is blocked")


# -- speaking and transcribing


def test_a_text_is_heard_while_it_is_made_and_can_be_kept(page: Page, tmp_path: Path) -> None:
    page.click("#tab-speak")
    page.fill("#speak-text", "Good morning. How do you do?")
    page.fill("#voice-search", "english great britain")
    page.locator("#voice-list label").first.click()
    page.click("#speak-button")
    expect(page.locator("#speak-status")).to_contain_text("First sound after")
    sound = saved(page, "#speak-download", tmp_path)
    assert AudioData.from_file(sound).duration_seconds > 1
    assert page.evaluate("document.querySelector('#speak-audio').duration") > 1


@pytest.mark.parametrize("format", ["mp3", "flac"])
def test_a_text_becomes_a_file_of_another_format(page: Page, tmp_path: Path, format: str) -> None:
    page.click("#tab-speak")
    page.fill("#speak-text", "Good morning.")
    page.select_option("#speak-format", format)
    page.click("#speak-button")
    expect(page.locator("#speak-status")).to_contain_text("Made in")
    soon(lambda: page.evaluate("document.querySelector('#speak-audio').duration > 0.3"))
    assert saved(page, "#speak-download", tmp_path).suffix == f".{format}"


def test_what_an_engine_does_not_obey_is_not_offered(page: Page) -> None:
    page.click("#tab-speak")
    expect(page.locator("#speak-parameters input")).to_have_count(1)
    expect(page.locator("#speak-parameters")).to_contain_text("Speed")


def test_a_recording_is_transcribed(
    page: Page, recordings: dict[str, Path], tmp_path: Path
) -> None:
    page.click("#tab-transcribe")
    page.set_input_files("#transcribe-file", recordings["time"])
    line = page.locator("#transcribe-text button")
    expect(line).to_contain_text("what time is it")
    line.click()
    soon(lambda: page.evaluate("document.querySelector('#transcribe-audio').currentTime > 0"))
    srt = saved(page, "#transcribe-downloads [data-format=srt]", tmp_path).read_text()
    assert re.fullmatch(r"1\n00:00:00,\d{3} --> 00:00:0\d,\d{3}\nwhat time is it\n", srt)


def test_what_is_no_recording_is_refused_in_words_for_people(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "letter.wav"
    file.write_text("Dear Sir or Madam")
    page.click("#tab-transcribe")
    page.set_input_files("#transcribe-file", file)
    notice = page.get_by_role("alert").filter(has_text="could not be transcribed")
    expect(notice.locator(".request-id code")).not_to_be_empty()
    notice.get_by_role("button", name="Dismiss").click()
    expect(notice).to_have_count(0)


def saved(page: Page, button: str, folder: Path) -> Path:
    """What a button downloads."""
    with page.expect_download() as download:
        page.click(button)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


# -- managing


def test_management_asks_for_the_token(page: Page) -> None:
    page.click("#tab-settings")
    locked = page.locator("#settings-locked")
    expect(locked).to_contain_text("This is for the server's owner")
    locked.get_by_role("button", name="Enter the token").click()
    page.fill("#token-field", OWNER)
    page.keyboard.press("Enter")
    expect(page.locator("#settings-form")).to_be_visible()


def test_where_everybody_needs_a_token_the_page_asks_for_it(
    chromium: Any, tmp_path: Path, recordings: dict[str, Path]
) -> None:
    tokens = {"a caller": {"token": "a-token-for-callers", "permissions": ["response"]}}
    settings = {"server.use_auth": True, "server.auth_tokens": tokens}
    with (
        running(scripted_app(tmp_path, settings)) as url,
        chromium.page(url, microphone=recordings["quiet"]) as page,
    ):
        page.click("#talk-button")
        expect(page.get_by_role("dialog")).to_contain_text("Management token")
        page.fill("#token-field", "a-token-for-callers")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Dismiss").click()
        page.click("#talk-button")
        expect(page.locator("#talk-state")).to_have_text("Listening")


def test_the_token_leaves_the_address_bar(owners: Page, url: str) -> None:
    assert owners.url == f"{url}/"
    owners.click("#tab-analytics")
    expect(owners.locator("#analytics-board")).to_contain_text("Calls in the last 30 minutes")


def test_a_setting_is_changed(owners: Page, url: str) -> None:
    owners.click("#tab-settings")
    field = owners.locator("#setting-generation_defaults-speed_factor")
    field.fill("1.25")
    expect(owners.locator("#settings-status")).to_have_text("1 change")
    owners.click("#settings-save")
    expect(
        owners.get_by_role("status").filter(has_text="The settings have changed")
    ).to_be_visible()
    expect(field).to_have_value("1.25")
    current = httpx.get(f"{url}/config/current", headers={"Authorization": f"Bearer {OWNER}"})
    assert current.json()["generation_defaults"]["speed_factor"] == 1.25


def test_what_is_wrong_with_a_setting_stands_beside_it(owners: Page) -> None:
    owners.click("#tab-settings")
    field = owners.locator("#setting-generation_defaults-speed_factor")
    field.fill("7")
    owners.click("#settings-save")
    expect(field).to_have_attribute("aria-invalid", "true")  # the browser knows the range
    expect(owners.locator("#setting-generation_defaults-speed_factor-error")).not_to_be_empty()
    owners.click("#settings-revert")

    owners.fill("#setting-stt_engine-engine", "../../etc/engine")  # the server alone knows this
    owners.click("#settings-save")
    error = owners.locator("#setting-stt_engine-engine-error")
    expect(error).to_contain_text("takes names over HTTP")


def test_a_voice_is_added_with_consent_and_deleted(
    owners: Page, recordings: dict[str, Path]
) -> None:
    owners.click("#tab-voices")
    owners.set_input_files("#voices-files", recordings["call"])
    owners.fill("[name=consent_by]", "A Caller")
    owners.fill("[name=consent_statement]", "This server may speak in my voice.")
    owners.click("#voices-form button[type=submit]")
    rows = owners.locator("#voices-list li").filter(has_text="uploaded")
    expect(rows).to_have_count(1)
    rows.get_by_role("button", name="Delete").click()
    owners.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(rows).to_have_count(0)


# -- for everybody


def test_the_views_can_be_walked_through_by_keyboard(page: Page, url: str) -> None:
    page.focus("#tab-talk")
    for key, view in [
        *(("ArrowRight", view) for view in (*VIEWS[1:], "talk")),
        ("End", "analytics"),
        ("ArrowLeft", "settings"),
        ("Home", "talk"),
    ]:
        page.keyboard.press(key)
        chosen = page.locator("[role=tab][aria-selected=true]")
        expect(chosen).to_be_focused()
        assert chosen.get_attribute("data-view") == view
        expect(page.locator(f"#view-{view}")).to_be_visible()
        assert page.url == f"{url}/#{view}"


def test_a_view_has_an_address(chromium: Any, url: str) -> None:
    with chromium.page(f"{url}/#transcribe") as page:
        expect(page.locator("#view-transcribe")).to_be_visible()


def test_on_a_phone_nothing_is_wider_and_whatever_can_be_pressed_has_a_name(
    chromium: Any, url: str
) -> None:
    with chromium.page(f"{url}/#token={OWNER}", viewport=PHONE, color_scheme="dark") as page:
        for view in VIEWS:
            page.click(f"#tab-{view}")
            page.wait_for_load_state("networkidle")
            width = page.evaluate("document.documentElement.scrollWidth")
            assert (view, width) == (view, PHONE["width"])
        assert page.evaluate(_NAMELESS) == []


_NAMELESS = """() => [...document.querySelectorAll("button, input, select, textarea")]
  .filter((each) => !(each.ariaLabel || each.labels?.length || each.textContent.trim()))
  .map((each) => each.outerHTML)"""


def test_the_theme_can_be_chosen_and_stays(page: Page) -> None:
    before = page.evaluate(_BACKGROUND)
    page.click("#theme-button")
    after = page.evaluate(_BACKGROUND)
    assert after != before
    page.reload()
    assert page.evaluate(_BACKGROUND) == after


_BACKGROUND = "getComputedStyle(document.body).backgroundColor"


# -- sound, in numbers


def test_the_microphones_sound_keeps_what_can_be_heard_and_folds_nothing_back(
    modules: Page,
) -> None:
    for rate in (48_000, 44_100):
        kept = modules.evaluate(_LEVELS, [rate, 16_000, [100, 1000, 3000, 6500]])
        assert kept == pytest.approx([0, 0, 0, 0], abs=0.1)  # dB
        assert max(modules.evaluate(_LEVELS, [rate, 16_000, [8100, 9000, 12_000, 15_900]])) < -70


# The level of tones after a change of the rate, in dB.
_LEVELS = """async ([from, to, tones]) => {
  const { Resampler } = await import("/ui/audio/resampler.js");
  return tones.map((tone) => {
    const sound = Float32Array.from({ length: from }, (_, n) =>
      Math.sin((2 * Math.PI * tone * n) / from));
    const out = new Resampler(from, to).process(sound).slice(1000);
    const power = out.reduce((sum, x) => sum + x * x, 0) / out.length;
    return 10 * Math.log10(2 * power + 1e-20);
  });
}"""


@pytest.mark.parametrize(("rate", "to"), [(44_100, 16_000), (22_050, 48_000), (48_000, 48_000)])
def test_sound_in_blocks_becomes_what_it_would_in_one_piece(
    modules: Page, rate: int, to: int
) -> None:
    difference = modules.evaluate(
        """async ([from, to]) => {
          const { Resampler } = await import("/ui/audio/resampler.js");
          const sound = Float32Array.from({ length: 12_800 }, (_, n) => Math.sin(n * n * 1e-5));
          const whole = new Resampler(from, to).process(sound);
          const stream = new Resampler(from, to);
          const pieces = [];
          for (let n = 0; n < sound.length; n += 128) {
            pieces.push(...stream.process(sound.subarray(n, n + 128)));
          }
          return [whole.length - pieces.length,
                  Math.max(...pieces.map((x, n) => Math.abs(x - whole[n])))];
        }""",
        [rate, to],
    )
    assert difference == [0, 0]


_PLAY = """async (steps) => {
  const { JitterBuffer } = await import("/ui/audio/jitter-buffer.js");
  const buffer = new JitterBuffer(1000, 1);
  const out = [];
  for (const [what, n] of steps) {
    if (what === "push") buffer.push(new Float32Array(n).fill(1));
    else if (what === "pull") {
      const block = new Float32Array(n);
      buffer.pull(block);
      out.push([...block]);
    } else buffer[what]();
  }
  const { played, underruns, dropped } = buffer;
  return { out, played, underruns, dropped };
}"""


def test_playing_begins_once_there_is_enough(modules: Page) -> None:
    some = modules.evaluate(_PLAY, [["push", 40], ["pull", 10], ["push", 40], ["pull", 10]])
    assert some["out"][0] == [0] * 10
    assert some["out"][1][-1] == 1
    assert some["played"] == 10


def test_a_short_sound_is_played_all_the_same(modules: Page) -> None:
    told = modules.evaluate(_PLAY, [["push", 20], ["end", 0], ["pull", 20]])
    waited = modules.evaluate(_PLAY, [["push", 20], *[["pull", 20]] * 5])
    assert told["played"] == waited["played"] == 20


def test_after_a_gap_more_is_waited_for(modules: Page) -> None:
    late = [["push", 80], ["pull", 100], ["push", 80], ["pull", 10]]
    found = modules.evaluate(_PLAY, [*late, ["push", 40], ["pull", 10]])
    assert found["underruns"] == 1
    assert found["out"][1] == [0] * 10
    assert found["out"][2][-1] == 1


def test_silence_after_the_end_is_no_gap(modules: Page) -> None:
    steps = [["push", 80], ["end", 0], ["pull", 100], ["begin", 0], ["push", 80], ["pull", 10]]
    found = modules.evaluate(_PLAY, steps)
    assert found["underruns"] == 0
    assert found["played"] == 90


def test_a_cut_fades_within_a_block_and_then_there_is_silence(modules: Page) -> None:
    steps = [["push", 500], ["pull", 100], ["flush", 0], ["pull", 128], ["pull", 128]]
    faded, silent = modules.evaluate(_PLAY, steps)["out"][1:]
    assert faded[:3] == sorted(faded[:3], reverse=True)
    assert faded[0] == 1
    assert faded[3:] == [0] * 125
    assert silent == [0] * 128


def test_what_waits_is_bounded(modules: Page) -> None:
    found = modules.evaluate(_PLAY, [["push", 700], ["push", 700], ["pull", 1200]])
    assert found["dropped"] == 400
    assert found["played"] == 1000
