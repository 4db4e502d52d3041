"""Links, names and fences in Markdown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.docs.links import anchors, fences, link_names, relative_links, rewritten
from tools.docs.outside import Outside, needed, relinked

PAGE = """\
# A title, of `code` and *words*

See [one](a.md), [two](b/c.md#part), [elsewhere](https://example.org), [here](#part),
![a picture](x.svg) and `[no](link.md)`.

```python
print("[not](this.md)")
```

## Part
## Part
"""


def test_relative_links_are_found_and_code_is_not_searched() -> None:
    assert list(relative_links(PAGE)) == ["a.md", "b/c.md#part", "x.svg"]


def test_links_are_rewritten_with_their_anchors_and_code_is_not() -> None:
    changed = rewritten(PAGE, lambda path: f"../{path}")
    assert "[two](../b/c.md#part)" in changed
    assert "[elsewhere](https://example.org)" in changed
    assert 'print("[not](this.md)")' in changed


def test_headings_have_the_anchors_that_hosts_give_them() -> None:
    assert anchors(PAGE) == {"a-title-of-code-and-words", "part", "part_1"}


@pytest.mark.parametrize(
    ("title", "anchor"),
    [
        ("## Who has the floor?", "who-has-the-floor"),
        ("## A [link](x.md) in it", "a-link-in-it"),
        ("### Named {#other}", "other"),
        ("## realtime-stts env create", "realtime-stts-env-create"),
    ],
)
def test_the_anchor_of(title: str, anchor: str) -> None:
    assert anchors(f"{title}\n") == {anchor}


def test_fences_of_a_language_alone_are_found() -> None:
    text = "```py\na\n```\n\n```python\nb\nc\n```\n\n    ```python\n    d\n    ```\n"
    assert fences(text, "python") == ["b\nc\n"]
    assert fences(text, "py") == ["a\n"]


def test_a_longer_fence_holds_a_shorter_one() -> None:
    assert fences("````text\n```python\nx\n```\n````\n", "python") == []


def test_the_first_mention_of_a_name_is_linked_and_no_other() -> None:
    words = "A `Name`, [a `Name`](x.md), `Name` and `other`; ``Name``."
    text = f"# `Name`\n\n{words}\n\n```\n`Name`\n```\n"
    assert link_names(text, {"Name": "there.Name"}) == text.replace(
        "A `Name`", "A [`Name`][there.Name]"
    )


def test_a_call_of_a_name_is_linked_too() -> None:
    assert link_names("`Name(x=1)`", {"Name": "there.Name"}) == "[`Name(x=1)`][there.Name]"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "examples/one").mkdir(parents=True)
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n\n[security](SECURITY.md)\n")
    (tmp_path / "SECURITY.md").write_text("# Security\n\n[docs](docs/page.md)\n")
    (tmp_path / "examples/one/README.md").write_text("# One\n\n[code](app.py)\n")
    (tmp_path / "examples/one/app.py").write_text('"""```"""\n')
    (tmp_path / "examples/one/a.ipynb").write_text(
        '{"cells": [{"cell_type": "markdown", "source": ["# Title\\n", "words"]},'
        ' {"cell_type": "code", "source": ["print(1)"]}, {"cell_type": "code", "source": []}]}'
    )
    return tmp_path


TEXT = """\
# P

[one](../examples/one), [book](../examples/one/a.ipynb), [gone](../gone.md), [p](page.md)
"""


def test_files_outside_that_pages_link_to_are_found_with_what_those_link_to(
    repository: Path,
) -> None:
    found = needed(repository, {"docs/page.md": TEXT})
    assert set(found) == {
        "CHANGELOG.md",
        "SECURITY.md",
        "examples/one/README.md",
        "examples/one/a.ipynb",
        "examples/one/app.py",
    }
    assert found["CHANGELOG.md"].page == "changelog.md"
    assert found["examples/one/app.py"].page == "files/examples/one/app.py.md"


def test_links_to_them_lead_to_their_pages_and_back(repository: Path) -> None:
    found = needed(repository, {"docs/page.md": TEXT})
    (repository / "docs/page.md").write_text(TEXT)
    assert "(files/examples/one/README.md)" in relinked(
        TEXT, "docs/page.md", "page.md", found, repository
    )
    assert "(../gone.md)" in relinked(TEXT, "docs/page.md", "page.md", found, repository)
    security = found["SECURITY.md"]
    text = relinked(security.markdown(), "SECURITY.md", security.page, found, repository)
    assert "[docs](page.md)" in text


def test_code_is_shown_in_a_fence_that_it_cannot_close(repository: Path) -> None:
    shown = Outside(repository, "examples/one/app.py").markdown()
    assert '````python\n"""```"""\n````' in shown


def test_a_notebook_becomes_words_and_code(repository: Path) -> None:
    shown = Outside(repository, "examples/one/a.ipynb").markdown()
    assert shown.endswith("# Title\nwords\n\n```python\nprint(1)\n```\n")


def test_a_folder_without_a_readme_is_a_page_that_lists_its_files(repository: Path) -> None:
    (repository / "examples/two").mkdir()
    (repository / "examples/two/b.py").write_text("x = 1\n")
    (repository / "examples/two/.hidden").write_text("")
    found = needed(repository, {"docs/page.md": "# P\n\n[two](../examples/two)\n"})
    folder = found["examples/two"]
    assert folder.page == "files/examples/two.md"
    text = relinked(folder.markdown(), folder.path, folder.page, found, repository)
    assert text == "# two\n\n* [b.py](examples/two/b.py.md)\n".replace("examples/two/", "two/")
