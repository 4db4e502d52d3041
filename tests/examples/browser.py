"""A real browser whose microphone is a recording, for tests of the example's page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from playwright.sync_api import Page, Playwright, sync_playwright

from realtime_stts import AudioData
from realtime_stts.engines import load_tts

__all__ = ["CHROMIUM", "Seen", "browsers", "silence", "speech", "write_wav"]

CHROMIUM = Path("/usr/bin/chromium")
_RATE = 48_000
_CALLER = {"voice_id": "en-us+f3", "rate": 150}  # what PocketSphinx understands best of eSpeak's
_PATIENCE = 15_000  # ms, on a busy machine

# The page's own messages: that it was refused is said to the user, too.
_EXPECTED = ("Failed to load resource: the server responded with a status of",)


def speech(*phrases: str) -> list[AudioData]:
    """eSpeak saying each of them."""

    async def spoken() -> list[AudioData]:
        async with load_tts("espeak") as voice:
            said = [await voice.synthesize(phrase, dict(_CALLER)) for phrase in phrases]
        return [each.audio_data.mono().resampled(_RATE) for each in said if each]

    return anyio.run(spoken)


def silence(seconds: float) -> AudioData:
    return AudioData.silence(seconds, _RATE)


def write_wav(path: Path, parts: Sequence[AudioData]) -> Path:
    path.write_bytes(AudioData.concat(parts).encode("wav"))
    return path


@dataclass
class Seen:
    """A page, and what it complained of where only developers look."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(_PATIENCE)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._on_console)

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(_EXPECTED):
            self.complaints.append(message.text)


@contextmanager
def browsers() -> Iterator[_Browsers]:
    """Starts browsers; they have ended when the block has."""
    with sync_playwright() as playwright:
        started = _Browsers(playwright)
        try:
            yield started
        finally:
            started.close()


class _Browsers:
    def __init__(self, playwright: Playwright) -> None:
        self._playwright = playwright
        self._started: dict[tuple[str, ...], Any] = {}

    @contextmanager
    def page(
        self,
        url: str = "about:blank",
        *,
        microphone: Path | None = None,
        asks: bool = False,
        **options: Any,
    ) -> Iterator[Page]:
        """A page that makes no complaints.

        Args:
            microphone: What is said into it, once; there is none by default.
            asks: Its user has not allowed the microphone.
            options: Of Playwright's `new_context`: viewport, colour scheme.
        """
        arguments = ["--no-sandbox", "--autoplay-policy=user-gesture-required"]
        if microphone is not None:
            arguments.append("--use-fake-device-for-media-stream")
            arguments.append(f"--use-file-for-fake-audio-capture={microphone}%noloop")
        if microphone is not None and not asks:
            arguments.append("--use-fake-ui-for-media-stream")
        context = self._browser(tuple(arguments)).new_context(**options)
        try:
            seen = Seen(context.new_page())
            seen.page.goto(url)
            yield seen.page
            assert not seen.complaints, seen.complaints
        finally:
            context.close()

    def _browser(self, arguments: tuple[str, ...]) -> Any:
        if arguments not in self._started:
            self._started[arguments] = self._playwright.chromium.launch(
                executable_path=CHROMIUM, args=[*arguments]
            )
        return self._started[arguments]

    def close(self) -> None:
        for browser in self._started.values():
            browser.close()
