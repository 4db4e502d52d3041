"""The schema and the reference page say what the tree has, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from realtime_stts.settings import Settings, json_schema
from realtime_stts.settings._schema import reference
from realtime_stts.settings._validation import LEAVES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"


def test_it_is_json_schema_of_today() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    assert json.loads(json.dumps(schema)) == schema


def test_every_option_is_in_it_with_its_description() -> None:
    schema = json_schema()
    for path in LEAVES:
        place = schema
        for name in path.split("."):
            place = schema["$defs"][place["$ref"].rpartition("/")[2]] if "$ref" in place else place
            place = place["properties"][name]
        assert place["description"], path
        assert "default" in place, path
        assert place.get("unit") == LEAVES[path].unit


def test_it_has_no_titles_that_say_nothing_but_keeps_an_option_of_that_name() -> None:
    schema = json_schema()
    assert "title" in schema["$defs"]["UISettings"]["properties"]
    assert schema.pop("title") == "Settings of realtime-stts"
    assert not re.search(r'"title": "', json.dumps(schema))


def test_a_restart_and_a_secret_are_declared() -> None:
    schema = json_schema()
    assert schema["properties"]["server"]["restart"] is True
    assert "restart" not in schema["properties"]["ui"]
    password = schema["$defs"]["ServerSettings"]["properties"]["auth_password"]
    assert password["anyOf"][0] == {"format": "password", "type": "string", "writeOnly": True}


def test_defaults_show_no_secret() -> None:
    assert Settings().masked() == json.loads(Settings().model_dump_json())


def test_the_page_in_the_docs_is_up_to_date() -> None:
    """If not, put what `reference()` gives below the page's line of dashes."""
    _, _, tables = PAGE.read_text(encoding="utf-8").partition("\n---\n")
    assert tables.strip() == reference().strip()


@pytest.mark.parametrize(
    "line",
    [
        "| `port` ⟳ | whole number | `8000` | ≥ 1, ≤ 65535 |  | Port to listen on. |",
        '| `auth_username` ⟳ | text | `"user"` |  |  | Name of the one user that has a password. |',
        "| `sample_rate` | whole number | `24000` | ≥ 8000, ≤ 192000 | Hz | Of the speech. |",
        '| `theme` | `dark`, `light` | `"dark"` |  |  | Of the page. |',
        "| `idle_after` | number | `30.0` | ≥ 0 | s | Silence until the host is told. |",
    ],
)
def test_a_line_of_the_reference(line: str) -> None:
    assert line in reference().splitlines()
