"""What the reference has of the code: all of it, and as the code says it."""

from __future__ import annotations

import json
import re
from importlib import import_module

import pytest

import realtime_stts
from realtime_stts import errors
from tools.docs.modules import ROOT, homes, public_modules
from tools.docs.reference import module_page, modules_table


def test_every_public_name_is_shown_on_one_page() -> None:
    pages = {module.name: module_page(module) for module in public_modules()}
    for module in public_modules():
        for name in module.exports:
            home = homes()[name].module
            assert f"        - {name}\n" in pages[home], name
            if home != module.name:
                assert f"[`{name}`][{home}.{name}]" in pages[module.name], name


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("AudioData", "audio"),
        ("TurnPolicy", "conversation"),
        ("EngineError", "errors"),
        ("STTEngine", "protocols"),
        ("load_stt", "engines"),
        ("RetryMiddleware", "middleware"),
        ("Consent", "voices"),
        ("Caller", "testing"),
        ("SpeechToTextSuite", "testing"),
    ],
)
def test_a_name_is_at_home_where_it_is_explained(name: str, module: str) -> None:
    assert homes()[name].module == f"realtime_stts.{module}"
    assert homes()[name].summary.endswith((".", ":"))


def test_the_modules_are_those_that_can_be_imported_from() -> None:
    names = [module.name for module in public_modules()]
    assert names == sorted(names)
    assert names[0] == "realtime_stts"
    assert "realtime_stts.middleware" in names
    assert "realtime_stts.middleware.retry" not in names  # all of it is in realtime_stts.middleware
    assert not any("cli" in name for name in names)
    assert set(public_modules()[0].exports) == set(realtime_stts.__all__)
    for name in ("errors", "protocols", "conversation", "middleware", "testing"):
        module = next(each for each in public_modules() if each.name.endswith(f".{name}"))
        assert set(module.exports) == set(import_module(module.name).__all__)
        assert f"[`{module.name}`](api/{name}.md)" in modules_table()


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split(" | ")] for line in table.splitlines()[2:]]


def test_every_error_is_in_the_table_with_whose_fault_it_is() -> None:
    for package in ("fastapi", "opentelemetry", "prometheus_client"):
        pytest.importorskip(package)
    from tools.docs.tables import errors_table

    found = {}
    for row in rows(errors_table()):
        found[re.findall(r"\[`(\w+)`\]", row[0])[0]] = row[1:]
    assert set(found) == set(errors.__all__)
    assert found["AudioContainerError"][2:] == ["415", "`unsupported_audio` |"]
    assert found["RateLimitError"][0].startswith("the caller's:")
    assert found["CircuitOpenError"][:3] == [
        "the engine's: it failed too often: it is left alone for a while", "", "503",
    ]  # fmt: skip
    assert [name for name, row in found.items() if row[1] == "yes"] == [
        "EngineError", "EngineCrashedError", "EngineTimeoutError", "EngineUnavailableError",
    ]  # fmt: skip
    owned = r"(the (caller|engine|installation|machine)'s|ours|nobody's): "
    for name in set(found) - {"RealtimeSTTSError", "AudioError"}:
        assert re.match(owned, found[name][0]), name


def test_the_metrics_are_those_that_prometheus_is_told() -> None:
    for package in ("fastapi", "opentelemetry", "prometheus_client"):
        pytest.importorskip(package)
    from prometheus_client import CollectorRegistry

    from realtime_stts.integrations.prometheus import PrometheusInstrumentation
    from tools.docs.tables import prometheus_table

    registry = CollectorRegistry()
    PrometheusInstrumentation(registry)
    told = {
        f"`{family.name}{'_total' if family.type == 'counter' else ''}`": family.type
        for family in registry.collect()
    }
    assert {row[0].strip("| "): row[1] for row in rows(prometheus_table())} == told


def test_the_metrics_are_those_that_opentelemetry_is_told() -> None:
    for package in ("fastapi", "opentelemetry.sdk", "prometheus_client"):
        pytest.importorskip(package)
    from tools.docs.tables import spans_table, telemetry_table

    source = (ROOT / "src/realtime_stts/integrations/opentelemetry.py").read_text("utf-8")
    for name in re.findall(r'(?:counter|own)\(\s*f?"(?:\{_SCOPE\}\.)?([\w.]+)"', source):
        assert f"`realtime_stts.{name}`" in telemetry_table()
    assert "| `gen_ai.client.operation.duration` | histogram | s |" in telemetry_table()
    assert "| `session_id` | `gen_ai.conversation.id` | calls, turns, sessions |" in spans_table()


def test_every_message_of_the_protocol_has_its_example() -> None:
    from tools.docs.messages import answers_section, examples, messages_section

    page = answers_section(2) + answers_section(1) + messages_section(1) + messages_section(2)
    shown = set()
    for block in re.findall(r"```json\n(.*?)```", page, re.S):
        message = json.loads(block)
        shown |= {message.get("type"), message.get("event"), message.get("action")}
    source = (ROOT / "src/realtime_stts/conversation/_messages.py").read_text("utf-8")
    _, _, encoder = source.partition("class MessageEncoder")
    words = [
        r'"type": "(\w+)"',
        r'kind(?:, rest)? = "(\w+)"',
        r'"(\w+)" if (?:started|self\._version == 1)',
        r'else "(\w+)"',
    ]
    kinds = {kind for word in words for kind in re.findall(word, encoder)}
    assert len(kinds) > 15
    assert kinds - {"Speech"} <= shown
    assert examples(2, "stream")["(binary)"].sample_rate == 24_000


def test_every_command_of_the_protocol_is_shown() -> None:
    from realtime_stts.conversation import _messages
    from tools.docs.messages import COMMANDS

    assert set(_messages._COMMANDS) | {"change_mode", "unknown"} == set(COMMANDS)


def test_every_command_of_the_command_line_is_shown_with_its_options() -> None:
    pytest.importorskip("typer")
    from tools.docs.commands import commands, commands_page

    assert {"realtime-stts", "realtime-stts say", "realtime-stts env create"} <= set(commands())
    assert {"--stt", "--json", "-h"} <= commands()["realtime-stts transcribe"].options
    assert "--fast" not in commands()["realtime-stts transcribe"].options
    assert commands()["realtime-stts env"].subcommands == ["create", "list", "remove"]
    for name in commands():
        assert f"\n## {name}\n" in f"\n{commands_page()}"
    assert not set("╭│╰") & set(commands_page())
    assert all(len(line) <= 100 for line in commands_page().splitlines())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x: float = 0.6  # silence that ends a turn", "Silence that ends a turn."),
        ("x: float  # s", "In s."),
        ("x: float  # s, of the clip", "In s: of the clip."),
        ("x: float = 0.0", ""),
        ("x: Any = f()  # noqa: B008", ""),
        ("x: str = 'a # b'", ""),
    ],
)
def test_a_comment_behind_a_field_explains_it(line: str, said: str) -> None:
    pytest.importorskip("griffe")
    from tools.docs.docstrings import comment_of

    assert comment_of(line) == said


SOURCE = '''
"""See `AudioData`, `Thing.made` and `unknown`.

    `AudioData` in code

and an end.
"""

from dataclasses import dataclass

@dataclass(frozen=True)
class Caller:
    """Somebody, who has `run` and `name`."""

    name: str  # theirs
    age: float = 1.0  # s
    other: int = 2
    """With a docstring."""

    def run(self) -> None:
        """Do it, as `says` does; a `WebSocketAdapter`."""

    def says(self) -> None: ...
    def __repr__(self) -> str: ...
'''


def test_references_in_docstrings_become_links_and_fields_parameters() -> None:
    griffe = pytest.importorskip("griffe")
    from tools.docs.docstrings import Docstrings

    module = griffe.visit("thing", filepath=ROOT / "thing.py", code=SOURCE)
    module.lines_collection[ROOT / "thing.py"] = SOURCE.splitlines()
    Docstrings().on_package(pkg=module)
    assert module.docstring.value.startswith(
        "See [`AudioData`][realtime_stts.audio.AudioData], `Thing.made` and `unknown`."
    )
    assert "    `AudioData` in code" in module.docstring.value
    caller = module["Caller"]
    assert "[`run`][realtime_stts.testing.Caller.run]" in caller.docstring.value
    assert "Args:\n    name: Theirs.\n    age: In s." in caller.docstring.value
    assert [name for name, each in caller.members.items() if each.is_public] == [
        "other", "run", "says",
    ]  # fmt: skip
    assert "[`says`][realtime_stts.testing.Caller.says]" in caller["run"].docstring.value
    assert "[realtime_stts.protocols.WebSocketAdapter]" in caller["run"].docstring.value


def test_every_docstring_says_its_names_in_one_way() -> None:
    """Sphinx's roles and double brackets would stand in the pages as they are."""
    for path in sorted((ROOT / "src/realtime_stts").rglob("*.py")):
        assert not re.search(r":\w+:`", path.read_text("utf-8")), path
