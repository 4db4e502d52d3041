"""PURE: whether the page that opens a socket is one of ours.

A browser lets any page open a WebSocket to any server, with that server's cookies, and from
inside of the user's own network; it says which page it is in the ``Origin`` header, which
scripts cannot change (RFC 6455, section 10.2). Programs send none.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

__all__ = ["is_own_origin"]


def is_own_origin(origin: str | None, host: str | None, allowed: Collection[str] = ()) -> bool:
    """Whether a page of that origin may connect.

    Args:
        origin: The header; None if there was none, which is no browser.
        host: The header ``Host``: pages from there are the server's own.
        allowed: Origins of other pages, as ``https://example.org``; ``*`` is any.
    """
    if origin is None or "*" in allowed or origin in allowed:
        return True
    try:
        page = urlsplit(origin)
        return (
            page.scheme in ("http", "https")
            and bool(page.netloc)
            and host is not None
            and page.netloc.lower() == host.lower()
        )
    except ValueError:  # as "http://[", which no browser sends
        return False
