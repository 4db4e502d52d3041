"""Every async test runs on asyncio and on trio, on virtual time."""

from __future__ import annotations

from hypothesis import Phase, settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("realtime_stts", deadline=None)
settings.load_profile("realtime_stts")
# For `make mutants`: the same examples each time, and no search for the smallest that fails.
settings.register_profile(
    "mutants",
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)

pytest_plugins = ["pytester", "realtime_stts.testing.plugin"]
