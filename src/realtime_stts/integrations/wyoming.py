"""A Wyoming server: any engine as Home Assistant's ears and voice.

    async with WyomingServer(stt=load_stt("whisper:base.en"), tts=load_tts("espeak")) as server:
        await server.serve()

Wyoming (https://github.com/OHF-Voice/wyoming) is the protocol by which Home Assistant talks
to speech services. The events are those of its package ``wyoming``; bytes are read by our own
reader, because the package's believes whatever length a client announces. It runs on asyncio
and on trio.
"""

from __future__ import annotations

import warnings

from ..errors import MissingExtraError

try:
    with warnings.catch_warnings():
        # The package has another module for Pythons that lack this one.
        warnings.filterwarnings("ignore", "'audioop' is deprecated", DeprecationWarning)
        import wyoming.audio  # noqa: F401
except ImportError as exc:
    raise MissingExtraError("The Wyoming server", "wyoming") from exc

from ._wyoming._offer import WyomingLimits
from ._wyoming._server import WyomingServer, serve_wyoming

__all__ = ["WyomingLimits", "WyomingServer", "serve_wyoming"]
