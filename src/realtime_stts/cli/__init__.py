"""The command line: ``realtime-stts``, or ``python -m realtime_stts.cli``."""

from __future__ import annotations

import sys
from io import TextIOWrapper

from ..errors import MissingExtraError

__all__ = ["main"]


def main() -> None:
    """Run the command that ``sys.argv`` holds, and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # What a terminal cannot show becomes "?" and is no reason to fail.
            stream.reconfigure(errors="replace")
    try:
        from ._app import app
    except MissingExtraError as exc:
        sys.stderr.write(f"error: {exc}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:  # while the imports take their second
        raise SystemExit(130) from None
    app(prog_name="realtime-stts")
