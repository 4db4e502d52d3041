"""Downloads from a real server: once, whole, or not at all."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("filelock")

from realtime_stts import EngineLoadError
from realtime_stts.engines._download import download

CONTENT = bytes(range(256)) * 4096  # 1 MiB
CHECKSUM = sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `CONTENT`, as the test wants it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.n_requests = 0
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.tells_length = True
        self.pieces: Callable[[], Iterator[bytes]] = lambda: iter([CONTENT])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/models/tiny.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.n_requests += 1
        self.server.asked.set()
        self.server.may_answer.wait()
        if not self.path.endswith("/tiny.bin"):
            self.send_error(404)
            return
        self.send_response(200)
        if self.server.tells_length:
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        try:
            for piece in self.server.pieces():
                self.wfile.write(piece)
                self.wfile.flush()
        except ConnectionError:
            pass  # whoever asked is gone

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.may_answer.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "tiny.bin"


def fetch(server: Server, to: Path, **options: object) -> Path:
    return download(server.url, to, **{"sha256": CHECKSUM, "engine": "test", **options})  # type: ignore[arg-type]


def left(target: Path) -> set[str]:
    """All that is in its folder, but the lock."""
    if not target.parent.is_dir():
        return set()
    return {file.name for file in target.parent.iterdir()} - {f".{target.name}.lock"}


class Cancelled(Exception):
    pass


class Patience:
    """A caller that can give up."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def check(self) -> None:
        if self.over.is_set():
            raise Cancelled


class TestWhatIsThere:
    def test_a_file_is_downloaded_into_a_folder_that_is_made_for_it(
        self, server: Server, target: Path
    ) -> None:
        assert fetch(server, target) == target
        assert target.read_bytes() == CONTENT
        assert left(target) == {"tiny.bin"}

    def test_it_is_not_downloaded_again(self, server: Server, target: Path) -> None:
        fetch(server, target)
        told: list[object] = []
        fetch(server, target, progress=lambda *now: told.append(now))
        assert (server.n_requests, told) == (1, [])

    def test_a_file_that_somebody_else_put_there_is_used_and_its_folder_not_touched(
        self, server: Server, target: Path
    ) -> None:
        target.parent.mkdir()
        target.write_bytes(CONTENT)
        assert fetch(server, target) == target
        assert [*target.parent.iterdir()] == [target]
        assert server.n_requests == 0

    def test_a_file_that_was_right_is_not_read_again_until_it_changes(
        self, server: Server, target: Path
    ) -> None:
        target.parent.mkdir()
        target.write_bytes(CONTENT)
        patience = Patience()
        fetch(server, target)
        patience.over.set()
        fetch(server, target, check=patience.check)  # would be raised while reading
        os.utime(target, ns=(1, 1))
        with pytest.raises(Cancelled):
            fetch(server, target, check=patience.check)

    def test_one_that_is_right_for_somebody_else_is_wrong_here(
        self, server: Server, target: Path
    ) -> None:
        target.parent.mkdir()
        target.write_bytes(b"another model")
        fetch(server, target, sha256=sha256(b"another model").hexdigest())
        assert server.n_requests == 0
        fetch(server, target)
        assert target.read_bytes() == CONTENT

    def test_half_a_file_is_replaced(self, server: Server, target: Path) -> None:
        target.parent.mkdir()
        target.write_bytes(CONTENT[:1000])
        fetch(server, target)
        assert target.read_bytes() == CONTENT

    def test_what_a_killed_process_left_is_overwritten(self, server: Server, target: Path) -> None:
        target.parent.mkdir()
        (target.parent / ".tiny.bin.part").write_bytes(b"x" * 2 * len(CONTENT))
        fetch(server, target)
        assert target.read_bytes() == CONTENT
        assert left(target) == {"tiny.bin"}


class TestProgress:
    @pytest.mark.parametrize("tells_length", [True, False])
    def test_it_is_told_as_bytes_come_from_a_slow_server(
        self, server: Server, target: Path, tells_length: bool
    ) -> None:
        """Each piece is sent only when the one before has been told."""
        server.tells_length = tells_length
        told: list[tuple[int, int | None]] = []
        heard = threading.Event()

        def pieces() -> Iterator[bytes]:
            for first in range(0, len(CONTENT), 1 << 16):
                heard.wait()
                heard.clear()
                yield CONTENT[first : first + (1 << 16)]

        def tell(done: int, total: int | None) -> None:
            told.append((done, total))
            if done % (1 << 16) == 0:
                heard.set()

        server.pieces = pieces
        fetch(server, target, progress=tell)
        done = [now for now, _ in told]
        assert done[0] == 0
        assert done[-1] == len(CONTENT)
        assert done == sorted({*done})
        assert {*range(0, len(CONTENT) + 1, 1 << 16)} <= {*done}
        assert {total for _, total in told} == {len(CONTENT) if tells_length else None}

    def test_one_that_fails_leaves_nothing(self, server: Server, target: Path) -> None:
        with pytest.raises(ZeroDivisionError):
            fetch(server, target, progress=lambda done, total: done // 0)
        assert left(target) == set()


class TestAtOnce:
    def test_threads_download_it_once(self, server: Server, target: Path) -> None:
        server.may_answer.clear()
        told: list[tuple[int, int, int | None]] = []

        def thread(n: int) -> Path:
            return fetch(server, target, progress=lambda *now: told.append((n, *now)))

        with ThreadPoolExecutor() as pool:
            files = pool.map(thread, range(4))
            server.asked.wait()
            server.may_answer.set()
            assert [*files] == [target] * 4
        assert server.n_requests == 1
        assert len({n for n, *_ in told}) == 1

    def test_processes_download_it_once(self, server: Server, target: Path) -> None:
        """The server answers when both are known to have come so far."""
        code = (
            "import sys; from pathlib import Path\n"
            "from realtime_stts.engines._download import download\n"
            "url, to, checksum = sys.argv[1:]\n"
            "def check(): print('waits', flush=True)\n"
            "download(url, Path(to), sha256=checksum, engine='test', check=check)\n"
        )
        server.may_answer.clear()
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code, server.url, str(target), CHECKSUM],
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "waits\n"
        server.asked.wait()
        server.may_answer.set()
        for process in processes:
            process.communicate()
            assert process.returncode == 0
        assert server.n_requests == 1
        assert target.read_bytes() == CONTENT
        assert left(target) == {"tiny.bin"}

    def test_the_next_one_downloads_it_if_the_first_fails(
        self, server: Server, target: Path
    ) -> None:
        first, waits = Patience(), threading.Event()
        server.may_answer.clear()

        def second() -> Path:
            return fetch(server, target, check=waits.set)

        with ThreadPoolExecutor() as pool:
            failing = pool.submit(fetch, server, target, check=first.check)
            server.asked.wait()
            following = pool.submit(second)
            waits.wait()
            first.over.set()
            server.may_answer.set()
            with pytest.raises(Cancelled):
                failing.result()
            assert following.result() == target
        assert server.n_requests == 2
        assert target.read_bytes() == CONTENT

    def test_who_waits_for_another_can_give_up(self, server: Server, target: Path) -> None:
        second, waits = Patience(), threading.Event()
        server.may_answer.clear()

        def check() -> None:
            waits.set()
            second.check()

        with ThreadPoolExecutor() as pool:
            first = pool.submit(fetch, server, target)
            server.asked.wait()
            waiting = pool.submit(fetch, server, target, check=check)
            waits.wait()
            second.over.set()
            with pytest.raises(Cancelled):
                waiting.result()
            assert not first.done()
            server.may_answer.set()
            assert first.result() == target


class TestFailure:
    def failure(self, server: Server, target: Path, **options: object) -> str:
        with pytest.raises(EngineLoadError) as caught:
            fetch(server, target, **options)
        assert caught.value.engine == "test"
        return str(caught.value)

    def test_the_message_says_what_failed_and_what_to_do(
        self, server: Server, target: Path
    ) -> None:
        url = server.url.replace("tiny", "huge")
        with pytest.raises(EngineLoadError) as caught:
            download(url, target, sha256=CHECKSUM, engine="test", otherwise="wait for better times")
        assert str(caught.value) == (
            "test: tiny.bin cannot be downloaded (HTTP Error 404: Not Found). "
            f"Put the file from {url} into {target.parent}, or wait for better times"
        )
        assert left(target) == set()

    def test_nobody_listens(self, server: Server, target: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        with pytest.raises(EngineLoadError, match=r"\(Connection refused\)\. Put the file from"):
            download(f"http://127.0.0.1:{port}/x", target, sha256=CHECKSUM, engine="test")
        assert left(target) == set()

    def test_a_server_that_hangs_up_without_a_word(self, target: Path) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as listening,
            ThreadPoolExecutor() as pool,
        ):
            hangs_up = pool.submit(lambda: listening.accept()[0].close())
            with pytest.raises(EngineLoadError, match="cannot be downloaded"):
                download(
                    f"http://127.0.0.1:{listening.getsockname()[1]}/x",
                    target,
                    sha256=CHECKSUM,
                    engine="test",
                )
            hangs_up.result()
        assert left(target) == set()

    def test_a_server_that_speaks_no_http(self, target: Path) -> None:
        def babble(listening: socket.socket) -> None:
            with listening.accept()[0] as connection:
                connection.recv(1 << 16)
                connection.sendall(b"220 mail.example.org ESMTP\r\n")

        with (
            socket.create_server(("127.0.0.1", 0)) as listening,
            ThreadPoolExecutor() as pool,
        ):
            babbles = pool.submit(babble, listening)
            with pytest.raises(EngineLoadError, match="220 mail"):
                download(
                    f"http://127.0.0.1:{listening.getsockname()[1]}/x",
                    target,
                    sha256=CHECKSUM,
                    engine="test",
                )
            babbles.result()

    def test_a_proxy_that_the_environment_names_now(
        self, server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fetch(server, target.with_name("another"))
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # where nobody listens
        assert "(Connection refused)" in self.failure(server, target)

    def test_no_such_host(self, target: Path) -> None:
        with pytest.raises(EngineLoadError, match=r"cannot be downloaded \([^\[<].*\)"):
            download("http://no-such-host.invalid/x", target, sha256=CHECKSUM, engine="test")

    @pytest.mark.parametrize("tells_length", [True, False])
    def test_a_server_that_dies_in_the_middle(
        self, server: Server, target: Path, tells_length: bool
    ) -> None:
        server.tells_length = tells_length
        server.pieces = lambda: iter([CONTENT[: 1 << 19]])
        message = self.failure(server, target)
        if tells_length:
            assert "the connection broke after 524288 of 1048576 bytes" in message
        else:
            assert "what came has another checksum" in message
        assert left(target) == set()

    def test_what_came_is_not_what_was_wanted(self, server: Server, target: Path) -> None:
        assert "what came has another checksum" in self.failure(server, target, sha256="0" * 64)
        assert left(target) == set()

    def test_a_failure_leaves_the_file_that_was_there(self, server: Server, target: Path) -> None:
        target.parent.mkdir()
        target.write_bytes(b"an older one")
        self.failure(server, target, sha256="0" * 64)
        assert left(target) == {"tiny.bin"}
        assert target.read_bytes() == b"an older one"

    def test_after_a_failure_it_can_be_tried_again(self, server: Server, target: Path) -> None:
        server.pieces = lambda: iter([b""])
        self.failure(server, target)
        server.pieces = lambda: iter([CONTENT])
        assert fetch(server, target).read_bytes() == CONTENT

    def test_giving_up_in_the_middle_leaves_nothing(self, server: Server, target: Path) -> None:
        patience, goes_on = Patience(), threading.Event()

        def pieces() -> Iterator[bytes]:
            yield CONTENT[:1000]
            goes_on.wait()
            yield CONTENT[1000:]

        def tell(done: int, total: int | None) -> None:
            if done == 1000:
                patience.over.set()
                goes_on.set()

        server.pieces = pieces
        with pytest.raises(Cancelled):
            fetch(server, target, progress=tell, check=patience.check)
        assert left(target) == set()

    def test_a_folder_that_cannot_be_made(self, server: Server, tmp_path: Path) -> None:
        (tmp_path / "models").write_text("a file")
        message = self.failure(server, tmp_path / "models" / "deep" / "tiny.bin")
        assert message == (
            f"test: tiny.bin cannot be kept in {tmp_path / 'models' / 'deep'} (Not a directory). "
            "Make that possible, or choose another folder for it"
        )
        assert server.n_requests == 0

    def test_a_folder_in_its_place(self, server: Server, target: Path) -> None:
        target.mkdir(parents=True)
        assert "(Is a directory)" in self.failure(server, target)

    @pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
    def test_a_disk_that_takes_no_more(self, server: Server, target: Path) -> None:
        code = (
            "import sys, resource; from pathlib import Path\n"
            "from realtime_stts.engines._download import download\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
            "url, to, checksum = sys.argv[1:]\n"
            "try: download(url, Path(to), sha256=checksum, engine='test')\n"
            "except Exception as exc: print(repr(exc))\n"
        )
        done = subprocess.run(
            [sys.executable, "-B", "-c", code, server.url, str(target), CHECKSUM],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.startswith("EngineLoadError(")
        assert f"tiny.bin cannot be kept in {target.parent} (File too large)" in done.stdout
        assert left(target) == set()
