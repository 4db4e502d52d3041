"""The HTTP engines keep every promise of their Protocols, against the example server.

Each kind is held to its suite on one event loop; what may differ between them is in
``test_http.py``, on both.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("openai")
pytest.importorskip("fastapi")
pytest.importorskip("httpx")
pytest.importorskip("uvicorn")

from realtime_stts.engines.http import HttpSTTEngine, HttpTTSEngine
from realtime_stts.testing import SpeechToTextSuite, StreamingTextToSpeechSuite
from tests.examples.apps import running, scripted_app


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the API of an example server begins, which hears "hello" in every sound."""
    with running(scripted_app(tmp_path_factory.mktemp("server"))) as url:
        yield f"{url}/v1"


def on(backend: str) -> list[pytest.MarkDecorator]:
    """The marks of a suite that is held on one event loop; sockets know no virtual time."""
    return [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", [backend])]


class TestHttpSTTEngine(SpeechToTextSuite):
    pytestmark = on("asyncio")
    text = "hello"

    @pytest.fixture(autouse=True)
    def _server(self, url: str) -> None:
        self.url = url

    def engine(self) -> HttpSTTEngine:
        return HttpSTTEngine(base_url=self.url, api_key="any")


class TestHttpTTSEngine(StreamingTextToSpeechSuite):
    pytestmark = on("trio")

    @pytest.fixture(autouse=True)
    def _server(self, url: str) -> None:
        self.url = url

    def engine(self) -> HttpTTSEngine:
        return HttpTTSEngine(base_url=self.url, api_key="any")
