"""A pytest plugin: anyio's tests run on virtual time, on asyncio and on trio.

Ask for it in the topmost ``conftest.py``::

    pytest_plugins = ["realtime_stts.testing.plugin"]

It is opt-in, not an entry point, because installing a library must not change the clock
of tests that never heard of it. Each test marked ``anyio`` then runs once per backend
that is installed, as anyio's own fixture has it. A test that needs the real clock says so::

    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

from ._virtual_time import virtual_time

__all__ = ["anyio_backend"]

_BACKENDS = [name for name in ("asyncio", "trio") if find_spec(name)]


@pytest.fixture(scope="module", params=_BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The backend a test runs on, with a clock that no other module shares."""
    return virtual_time(request.param)
