"""Parts for servers on Starlette, and so on FastAPI: sockets, limits, uploads, errors.

    app = Starlette(routes=[...])
    protect(app, max_body_bytes=100_000_000)

`realtime_stts.integrations.fastapi` has whole routers.
"""

from __future__ import annotations

from ..errors import MissingExtraError

try:
    import starlette  # noqa: F401
except ImportError as exc:
    raise MissingExtraError("The Starlette integration", "fastapi") from exc

from ._http._adapter import StarletteWebSocketAdapter
from ._http._asgi import BodyLimitMiddleware, RequestMiddleware, protect
from ._http._decoding import AudioDecoder
from ._http._gate import Admitted, Gate, deny
from ._http._origins import is_own_origin
from ._http._problems import Problem, problem_of
from ._http._seats import Seats
from ._http._tickets import Bearer, Tickets

__all__ = [
    "Admitted",
    "AudioDecoder",
    "Bearer",
    "BodyLimitMiddleware",
    "Gate",
    "Problem",
    "RequestMiddleware",
    "Seats",
    "StarletteWebSocketAdapter",
    "Tickets",
    "deny",
    "is_own_origin",
    "problem_of",
    "protect",
]
