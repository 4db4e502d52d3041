"""The site: its navigation has every page, and its build makes what the pages ask for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("IPython")
pytest.importorskip("fastapi")
pytest.importorskip("matplotlib")
pytest.importorskip("mkdocs")
pytest.importorskip("opentelemetry")
pytest.importorskip("prometheus_client")
pytest.importorskip("typer")

from tools.docs import hooks
from tools.docs.modules import ROOT, public_modules
from tools.docs.outside import PAGES
from tools.docs.pictures import PICTURES

DOCS = ROOT / "docs"
TEXTS = {
    path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(DOCS.rglob("*.md"))
}


class _Loader(yaml.SafeLoader):
    """One that lets pass what names a Python object."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
CONFIG: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), _Loader)


def leaves(entry: object) -> list[str]:
    match entry:
        case str():
            return [entry]
        case list():
            return [leaf for each in entry for leaf in leaves(each)]
        case dict():
            return leaves(list(entry.values()))
    raise AssertionError(entry)


def test_every_page_is_in_the_navigation_once_and_nothing_else_is() -> None:
    outside = [page for page in PAGES.values() if not page.startswith("examples/")]
    assert sorted(leaves(CONFIG["nav"])) == sorted([*TEXTS, *outside])


def test_every_page_begins_with_its_one_title() -> None:
    for page, text in TEXTS.items():
        prose = re.sub(r"^ {0,3}```.*?^ {0,3}```", "", text, flags=re.M | re.S)
        assert text.startswith("# "), page
        assert len(re.findall(r"^# ", prose, re.M)) == 1, page


def test_what_a_page_asks_the_code_for_can_be_made_and_is_asked_for_once() -> None:
    asked = [
        what
        for text in TEXTS.values()
        for what in re.findall(r"^<!-- made of the code: (.+) -->$", text, re.M)
    ]
    assert sorted(asked) == sorted(hooks.MADE)


def test_every_picture_that_a_page_shows_is_drawn_or_there() -> None:
    for page, text in TEXTS.items():
        for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
            place = Path(page).parent / target
            drawn = place.parent.name == "pictures" and place.stem in PICTURES
            assert drawn or (DOCS / place).resolve().is_file(), f"{page} shows {target}"


def test_it_asks_no_other_host_for_anything() -> None:
    assert CONFIG["theme"]["font"] is False
    assert "analytics" not in CONFIG["extra"]
    assert "repo_url" not in CONFIG


@pytest.mark.parametrize(
    ("html", "addresses"),
    [
        ('<script src="https://cdn.example/x.js"></script>', ["https://cdn.example/x.js"]),
        ("<img src=//example.org/x.png>", ["//example.org/x.png"]),
        ('<link rel="stylesheet" href="http://fonts.example/a">', ["http://fonts.example/a"]),
        ('<link rel="canonical" href="https://docs.example/">', []),
        ('<a href="https://example.org">elsewhere</a><img src="../x.svg">', []),
    ],
)
def test_what_is_fetched_from_elsewhere_is_noticed(html: str, addresses: list[str]) -> None:
    assert hooks.fetched(html) == addresses


def test_every_public_module_has_a_page_of_its_own() -> None:
    pages = [module.page for module in public_modules()]
    assert len(set(pages)) == len(pages)
    assert "reference/api/conversation.md" in pages
    assert "reference/api/integrations.microphone.md" in pages
    assert not any("_" in part[:1] for page in pages for part in page.split("/")[-1].split("."))
