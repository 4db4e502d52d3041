"""Run the server: python -m fastapi_server --port 8004"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

from realtime_stts.errors import SettingsError
from realtime_stts.settings import Settings, SettingsStore

from .app import create_app
from .serving import Server, server_of

_LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
_LINE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 after it was told to stop; 2 if it could not begin."""
    options = _parser().parse_args(arguments)
    try:
        environ = {**os.environ, **_said(options)}
        store = SettingsStore(options.config, profile=options.profile, environ=environ)
        _log_to(store.current)
        app = create_app(store)
    except (SettingsError, OSError, ImportError, ValueError) as exc:
        print(f"the server cannot start: {exc}", file=sys.stderr)
        return 2
    server = server_of(app)
    _say(store.current, app.state.services.management_token, server, options)
    server.run()
    return 0 if server.started else 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastapi_server",
        description=(
            "Speech to text, text to speech and conversations over HTTP and WebSockets, with a "
            "page to talk to. Without a file of settings it has pocketsphinx and espeak, which "
            "need no download."
        ),
        epilog=(
            "Every setting may also be a variable of the environment, such as "
            "REALTIME_STTS_SERVER__PORT=8004. Ctrl+C or SIGTERM lets conversations end; "
            "a second one does not."
        ),
    )
    parser.add_argument("--host", help="address to listen on; 0.0.0.0 is every network")
    parser.add_argument("--port", type=int, help="port to listen on")
    parser.add_argument("--config", type=Path, help="YAML file of settings")
    parser.add_argument("--profile", help="a second file beside it: NAME.PROFILE.yaml")
    parser.add_argument("--log-level", type=str.upper, choices=_LEVELS, help="least that is logged")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    return parser


def _said(options: argparse.Namespace) -> dict[str, str]:
    """The options that are settings. Like the environment they go over the files, and into none."""
    said = {"HOST": options.host, "PORT": options.port, "LOG_LEVEL": options.log_level}
    return {
        f"REALTIME_STTS_SERVER__{name}": str(value)
        for name, value in said.items()
        if value is not None
    }


def _log_to(settings: Settings) -> None:
    given = settings.server
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if given.log_file_path is not None:
        given.log_file_path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(
            RotatingFileHandler(
                given.log_file_path,
                maxBytes=given.log_file_max_size_mb * 1_000_000,
                backupCount=given.log_file_backup_count,
                encoding="utf-8",
            )
        )
    logging.basicConfig(level=given.log_level, format=_LINE, handlers=handlers, force=True)
    # These lines have whole addresses, and so the tickets and names in them.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("uvicorn.error").addFilter(lambda line: '"WebSocket' not in str(line.msg))


def _say(
    settings: Settings, token: str | None, server: Server, options: argparse.Namespace
) -> None:
    """Where the page is. On standard error, not in the log: the link holds the token."""
    host = settings.server.host
    shown = "localhost" if host in ("127.0.0.1", "0.0.0.0", "::1", "::") else host
    link = f"http://{shown}:{settings.server.port}/"
    if token is not None:
        link += f"#token={token}"
    said = f"\n  Talk to it:  {link}\n  (the token lets you change settings and voices)\n\n"
    sys.stderr.write(said)
    if options.open:
        with suppress(OSError):
            webbrowser.open(link)
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
