"""What mkdocs calls while it builds the site: see ``mkdocs.yml``.

Of the code it makes the reference's pages, tables and pictures; files outside of ``docs/`` that
pages link to become pages; the first mention of a public name on a page becomes a link to it.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parents[2]
if str(_ROOT) not in sys.path:  # mkdocs loads this file by its path
    sys.path.insert(0, str(_ROOT))

from tools.docs import commands, messages, pictures, tables  # noqa: E402
from tools.docs.links import link_names  # noqa: E402
from tools.docs.modules import homes, public_modules  # noqa: E402
from tools.docs.outside import Outside, needed, relinked  # noqa: E402
from tools.docs.reference import module_page, modules_table  # noqa: E402

__all__ = ["MADE", "fetched", "on_config", "on_files", "on_page_markdown", "on_post_build"]

_log = logging.getLogger("mkdocs.hooks.docs")  # below mkdocs', whose strictness counts warnings

_MARK = re.compile(r"^<!-- made of the code: (?P<what>[a-z0-9-]+) -->$", re.M)

# What stands in a page's place of that name.
MADE: Mapping[str, Callable[[], str]] = {
    "commands": commands.commands_page,
    "errors": tables.errors_table,
    "messages-1": lambda: messages.messages_section(1),
    "messages-2": lambda: messages.messages_section(2),
    "messages-commands": lambda: messages.answers_section(2),
    "metrics-opentelemetry": tables.telemetry_table,
    "metrics-prometheus": tables.prometheus_table,
    "metrics-spans": tables.spans_table,
    "modules": modules_table,
}

# The text of a picture's file; while somebody writes, each build need not hold a conversation.
_picture = lru_cache(maxsize=None)(lambda name: pictures.PICTURES[name]())
_outside: dict[str, Outside] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The modules' pages are in the navigation, under the reference."""
    short = (module.name.removeprefix("realtime_stts.") for module in public_modules())
    modules = [{name: module.page} for name, module in zip(short, public_modules(), strict=True)]
    for entry in config.nav or []:
        if isinstance(entry, dict) and "Reference" in entry:
            entry["Reference"].append({"Modules": modules})
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """All that is made joins the files that there are."""
    docs = {f"docs/{file.src_uri}": file.content_string for file in files.documentation_pages()}
    _outside.clear()
    _outside.update(needed(_ROOT, docs))
    made = {module.page: module_page(module) for module in public_modules()}
    made |= {each.page: each.markdown() for each in _outside.values()}
    made |= {f"assets/pictures/{name}.svg": _picture(name) for name in pictures.PICTURES}
    for uri, content in made.items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A page as the site has it."""
    uri = page.file.src_uri
    path = next((each.path for each in _outside.values() if each.page == uri), f"docs/{uri}")
    if uri.startswith("reference/api/"):
        return markdown
    markdown = relinked(markdown, path, uri, _outside, _ROOT)
    if path.startswith("docs/") or path.endswith("README.md"):
        markdown = link_names(markdown, {name: home.path for name, home in homes().items()})
    return _MARK.sub(lambda mark: MADE[mark["what"]](), markdown)


def on_post_build(*, config: MkDocsConfig) -> None:
    """A site that fetches something from elsewhere tells others who reads it: that is a warning."""
    for path in sorted(Path(config.site_dir).rglob("*.html")):
        for address in fetched(path.read_text(encoding="utf-8")):
            _log.warning("%s fetches %s", path.relative_to(config.site_dir), address)


def fetched(html: str) -> list[str]:
    """What a page makes a browser fetch from other hosts."""
    found = []
    for tag in _FETCHING.findall(html):
        address = re.search(r"""\s(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)""", tag)
        if address and not re.search(r"""rel=["']?(canonical|next|prev)\b""", tag):
            found.append(address[1])
    return found


_FETCHING = re.compile(r"<(?:script|link|img|iframe|source|audio|video|embed)\b[^>]*>", re.I)
