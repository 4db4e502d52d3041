"""The plugin and the lazy imports, as a user's own test session meets them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from realtime_stts import testing


def test_anyio_tests_run_on_virtual_time_on_every_backend(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["realtime_stts.testing.plugin"]')
    pytester.makepyfile(
        """
        import anyio
        import pytest

        pytestmark = pytest.mark.anyio

        async def test_a_day() -> None:
            began = anyio.current_time()
            await anyio.sleep(86_400)
            assert anyio.current_time() - began == pytest.approx(86_400)

        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        async def test_the_real_clock() -> None:
            assert anyio.current_time() > 0
        """
    )
    outcome = pytester.runpytest_inprocess("-v", "-p", "no:cacheprovider")
    outcome.assert_outcomes(passed=3 if "trio" in outcome.stdout.str() else 2)


def test_a_suite_proves_and_disproves_engines(pytester: pytest.Pytester) -> None:
    """A subclass is all it takes; a failing check says what was wrong."""
    pytester.makeconftest('pytest_plugins = ["realtime_stts.testing.plugin"]')
    pytester.makepyfile(
        """
        from realtime_stts.testing import PauseDetectorSuite, ScriptedPauseDetector

        class TestMine(PauseDetectorSuite):
            def engine(self):
                return ScriptedPauseDetector([(1.0, 2.0)])

        class TestDeaf(PauseDetectorSuite):
            def engine(self):
                return ScriptedPauseDetector([])
        """
    )
    outcome = pytester.runpytest_inprocess("-k", "start_and_end", "-p", "no:cacheprovider")
    counts = outcome.parseoutcomes()
    assert counts["passed"] == counts["failed"] > 0
    outcome.stdout.fnmatch_lines(["*AssertionError: the speech was not noticed*"])


def test_a_suite_without_an_engine_says_what_is_missing() -> None:
    class TestNothing(testing.ResponseGeneratorSuite):
        pass

    with pytest.raises(NotImplementedError, match=r"TestNothing\.engine returns"):
        TestNothing().engine()


def test_every_public_name_is_there() -> None:
    assert all(hasattr(testing, name) for name in testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = testing.Nonsense


def test_fakes_need_neither_pytest_nor_trio() -> None:
    """An application may use them in its demo mode; only the suites ask for the extra."""
    program = """
import sys
sys.modules["pytest"] = sys.modules["trio"] = None
import realtime_stts.testing as testing
from realtime_stts.errors import MissingExtraError
testing.ScriptedSTTEngine([])
try:
    testing.TextToSpeechSuite
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "TextToSpeechSuite needs a package" in done.stdout
    assert 'pip install "realtime-stts[testing]"' in done.stdout
