"""The page people talk to: static files, and nothing to build."""

from __future__ import annotations

import mimetypes
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

__all__ = ["mount"]

_STATIC = Path(__file__).parent / "static"
# Browsers ask each time, and are told at once that nothing has changed. Without this the
# modules of two versions of the page could meet.
_ASK = {"Cache-Control": "no-cache"}


def mount(app: FastAPI) -> None:
    """Serve the page at ``/``, what it is made of below ``/ui``, and at ``/docs`` the routes."""
    # Some systems call it text/plain, and browsers run no module of that kind.
    mimetypes.add_type("text/javascript", ".js")

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def index() -> FileResponse:
        return FileResponse(_STATIC / "index.html", headers=_ASK)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(_STATIC / "docs.html", headers=_ASK)

    # FastAPI's own page for this loads scripts from other sites. This package has them inside.
    if (package := find_spec("fastapi_offline")) is not None and package.origin is not None:
        swagger = Path(package.origin).parent / "static"
        app.mount("/ui/swagger", StaticFiles(directory=swagger), name="swagger")
    app.mount("/ui", _Files(directory=_STATIC), name="ui")


class _Files(StaticFiles):
    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(_ASK)
        return response
