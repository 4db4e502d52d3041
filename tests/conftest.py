"""Every async test runs on asyncio and on trio, on virtual time."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("realtime_stts", deadline=None)
settings.load_profile("realtime_stts")

pytest_plugins = ["pytester", "realtime_stts.testing.plugin"]
