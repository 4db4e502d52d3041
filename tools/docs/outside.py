"""Files of the repository that pages link to, as pages of the site.

Pages link to them by their place in the repository, so that the links work where Markdown is
read as it is. Markdown becomes a page, a notebook one too, and other text a page that shows it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from .links import relative_links, rewritten

__all__ = ["PAGES", "Outside", "needed", "relinked"]

# The pages that the navigation has, by their files.
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "readme.md",
    "SECURITY.md": "security.md",
    "examples/discord_bot/README.md": "examples/discord_bot.md",
    "examples/fastapi_server/README.md": "examples/fastapi_server.md",
}

_LANGUAGES = {
    ".css": "css",
    ".js": "javascript",
    ".json": "json",
    ".py": "python",
    ".sh": "bash",
    ".toml": "toml",
    ".yaml": "yaml",
    ".yml": "yaml",
}
_TOO_LONG = 200_000  # bytes of a file that is shown


class Outside:
    """One such file.

    Args:
        root: Of the repository.
        path: The file's place in it.
    """

    def __init__(self, root: Path, path: str) -> None:
        self.root, self.path = root, path

    @property
    def page(self) -> str:
        """Its place in the site."""
        return PAGES.get(self.path) or f"files/{self.path.removesuffix('.md')}.md"

    def markdown(self) -> str:
        """The page, with links as the file has them."""
        place = self.root / self.path
        if place.is_dir():
            return _listing(self.path, place)
        text = place.read_text(encoding="utf-8")
        suffix = PurePosixPath(self.path).suffix
        if suffix == ".md":
            return text
        aside = "---\nsearch:\n  exclude: true\n---\n\n"
        if suffix == ".ipynb":
            return aside + _notebook(text)
        fence = "`" * max(3, _longest_ticks(text) + 1)
        shown = f"{fence}{_LANGUAGES.get(suffix, 'text')}\n{text.rstrip()}\n{fence}\n"
        return f"{aside}# {PurePosixPath(self.path).name}\n\n`{self.path}`\n\n{shown}"


def needed(root: Path, docs: Mapping[str, str]) -> dict[str, Outside]:
    """Every file outside of the docs that they link to, or that one of those links to.

    Args:
        root: Of the repository.
        docs: The text of each page, by its place in the repository.
    """
    found: dict[str, Outside] = {}
    to_read = list(docs.items())
    for path in PAGES:
        if (root / path).is_file():
            found[path] = Outside(root, path)
            to_read.append((path, found[path].markdown()))
    while to_read:
        page, text = to_read.pop()
        for target in _targets(root, page, text):
            if target not in found and target not in docs and not target.startswith("docs/"):
                found[target] = Outside(root, target)
                to_read.append((target, found[target].markdown()))
    return found


def relinked(
    markdown: str, path: str, page: str, outside: Mapping[str, Outside], root: Path
) -> str:
    """The text of one page with links that lead to pages of the site.

    Args:
        markdown: The text.
        path: Where it stands in the repository.
        page: Where it stands in the site.
        outside: What `needed` found.
        root: Of the repository.
    """

    def target_of(link: str) -> str:
        target = _file(root, path, link)
        if target is None:
            return link
        if target in outside:
            place = outside[target].page
        elif target.startswith("docs/"):
            place = target.removeprefix("docs/")
        else:
            return link
        return relpath(place, PurePosixPath(page).parent.as_posix())

    return rewritten(markdown, target_of)


def _targets(root: Path, page: str, text: str) -> Iterator[str]:
    if PurePosixPath(page).suffix not in (".md", ".ipynb", ""):
        return  # what looks like a link in a file that is shown is not one
    for link in relative_links(text):
        target = _file(root, page, link.partition("#")[0])
        if target is not None:
            yield target


def _file(root: Path, page: str, link: str) -> str | None:
    """The file that a link of a page means; a folder's is its README. None if there is none."""
    target = normpath((PurePosixPath(page).parent / link).as_posix())
    if target.startswith(".."):
        return None
    place = root / target
    if place.is_dir():
        names = ("README.md", "index.md", "__init__.py")
        readme = next((name for name in names if (place / name).is_file()), None)
        inside = target == "." or target.startswith("docs")  # the site's own folders are not shown
        return normpath(f"{target}/{readme}") if readme else None if inside else target
    return target if place.is_file() and place.stat().st_size <= _TOO_LONG else None


def _listing(path: str, folder: Path) -> str:
    """A folder's files, each a link."""
    name = PurePosixPath(path).name
    files = [each.name for each in sorted(folder.iterdir()) if each.is_file()]
    links = "\n".join(f"* [{each}]({name}/{each})" for each in files if not each.startswith("."))
    return f"# {name}\n\n{links}\n"


def _notebook(text: str) -> str:
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"]).rstrip()
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code" and source:
            fence = "`" * max(3, _longest_ticks(source) + 1)
            parts.append(f"{fence}python\n{source}\n{fence}")
    return "\n\n".join(parts) + "\n"


def _longest_ticks(text: str) -> int:
    longest = run = 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    return longest
