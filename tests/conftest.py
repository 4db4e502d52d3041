"""Every async test runs on asyncio and on trio, both on virtual time where nothing real runs."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param
