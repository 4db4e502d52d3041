"""Where the commands write: results to stdout, all else to stderr, every error one line."""

from __future__ import annotations

import errno
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..audio import AudioData
from ..errors import AudioError, MissingExtraError, RealtimeSTTSError, UnknownEngineError

try:
    import typer
    from rich.console import Console
except ImportError as exc:
    raise MissingExtraError("The realtime-stts command", "cli") from exc

__all__ = ["MISUSED", "err", "fail", "one_line_errors", "out", "read_audio", "tell"]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

FAILED, MISUSED, INTERRUPTED = 1, 2, 130  # exit codes; 130 is 128 + SIGINT


def tell(text: str) -> None:
    """Print a line as it is; wrapped only where somebody reads it."""
    out.print(text, markup=False, soft_wrap=not out.is_terminal)


def fail(message: object, code: int = FAILED) -> typer.Exit:
    """Say what is wrong; raise what is returned."""
    err.print(f"error: {message}", style="red", markup=False, soft_wrap=True)
    return typer.Exit(code)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what a user can cause into one line and an exit code. Bugs keep their traceback."""
    try:
        yield
    except BaseException as caught:  # noqa: BLE001 - every way out of here raises
        match exc := _alone(caught):
            case KeyboardInterrupt() | CancelledError():  # the latter on Python 3.10
                err.print("stopped before the end; nothing was written")
                raise typer.Exit(INTERRUPTED) from None
            case MissingExtraError() | UnknownEngineError():
                raise fail(exc, MISUSED) from exc
            case ValueError() if not isinstance(exc, RealtimeSTTSError):
                raise fail(exc, MISUSED) from exc  # by the contract, what was given is at fault
            case RealtimeSTTSError():
                raise fail(exc) from exc
            case OSError(errno=code) if code != errno.EPIPE:
                raise fail(f"{exc.filename}: {exc.strerror}" if exc.filename else exc) from exc
            case _:  # also when nobody reads our output any more: typer ends quietly then
                raise exc from exc.__cause__


def _alone(exc: BaseException) -> BaseException:
    """The one error in nested task groups, if there is but one."""
    inner: tuple[BaseException, ...] = getattr(exc, "exceptions", ())
    return _alone(inner[0]) if len(inner) == 1 else exc


def read_audio(path: Path) -> AudioData:
    """The clip in a file, or from stdin if ``path`` is ``-``.

    Raises:
        AudioError: It is not usable audio; the message names the file.
        OSError: It cannot be read.
    """
    stdin = str(path) == "-"
    try:
        return AudioData.from_file(typer.get_binary_stream("stdin").read() if stdin else path)
    except AudioError as exc:
        raise type(exc)(f"{'stdin' if stdin else path}: {exc}") from exc
