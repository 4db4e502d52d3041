"""A speech server: HTTP, WebSockets, a page to talk to, and OpenAI-compatible speech.

    python -m fastapi_server --port 8004

`create_app` makes the application of some settings; everything in it comes from the library
`realtime_stts`, and this package composes it.
"""

from .app import create_app

__all__ = ["create_app"]
