"""Markdown's links and code, found without touching what stands in fences."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

__all__ = ["anchors", "fences", "link_names", "outside_fences", "relative_links", "rewritten"]

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*(\w*)[^\n]*\n(.*?)^ {0,3}\1[ \t]*$", re.M | re.S)
_LINK = re.compile(r"(?P<open>\[(?:[^\[\]]|\[[^\[\]]*\])*\]\()(?P<target>[^)\s]+)(?P<close>\))")
_ELSEWHERE = re.compile(r"^([a-z][a-z0-9+.-]*:|//|#)", re.I)
_HEADING = re.compile(r"^(#{1,6}) +(.+?)(?: +#+)?(?: *\{ *#(?P<id>[\w-]+)[^}]*\})?$", re.M)


def fences(markdown: str, language: str) -> list[str]:
    """What stands in the fences of one language, in order."""
    return [body for _, name, body in _FENCE.findall(markdown) if name == language]


def outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    """The text with all but its fenced code changed."""
    parts, at = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [change(markdown[at : fence.start()]), fence.group()]
        at = fence.end()
    return "".join([*parts, change(markdown[at:])])


def relative_links(markdown: str) -> Iterator[str]:
    """The targets of its links into the repository, with their anchors."""
    found: list[str] = []

    def collect(text: str) -> str:
        prose = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", _blank, text, flags=re.S)
        found.extend(link["target"] for link in _LINK.finditer(prose))
        return text

    outside_fences(markdown, collect)
    yield from (target for target in found if not _ELSEWHERE.match(target))


def rewritten(markdown: str, target_of: Callable[[str], str]) -> str:
    """With each relative link's target, the anchor apart, replaced."""

    def change(link: re.Match[str]) -> str:
        target = link["target"]
        if _ELSEWHERE.match(target):
            return link.group()
        path, hash_, anchor = target.partition("#")
        return f"{link['open']}{target_of(path)}{hash_}{anchor}{link['close']}"

    return outside_fences(markdown, lambda text: _LINK.sub(change, text))


def anchors(markdown: str) -> set[str]:
    """What its headings can be linked by, as mkdocs and code hosts name them."""
    found: set[str] = set()

    def collect(text: str) -> str:
        for _, title, given in _HEADING.findall(text):
            anchor = given or _slug(title)
            n, numbered = 1, anchor
            while numbered in found:
                numbered, n = f"{anchor}_{n}", n + 1
            found.add(numbered)
        return text

    outside_fences(markdown, collect)
    return found


def link_names(markdown: str, paths: Mapping[str, str]) -> str:
    """With the first mention of each name in backticks made a cross-reference to its path.

    Headings, code and what is a link already are left as they are.
    """
    done: set[str] = set()

    def line_changed(line: str) -> str:
        if line.startswith(("#", "    ", "|--")):
            return line
        taken = [link.span() for link in re.finditer(r"\[[^\[\]]*\](\([^)]*\)|\[[^\]]*\])", line)]

        def change(mention: re.Match[str]) -> str:
            name = mention["name"]
            inside = any(start <= mention.start() < end for start, end in taken)
            if inside or name in done or name not in paths:
                return mention.group()
            done.add(name)
            return f"[`{mention['said']}`][{paths[name]}]"

        return _MENTION.sub(change, line)

    def change(text: str) -> str:
        return "".join(map(line_changed, text.splitlines(keepends=True)))

    return outside_fences(markdown, change)


_MENTION = re.compile(r"(?<![`\[])`(?P<said>(?P<name>\w+)(?:\([^`]*\))?)`(?!`)")


def _blank(code: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", code.group())


def _slug(title: str) -> str:
    """As the `toc` extension of Python-Markdown makes it."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "").replace("*", "")
    plain = re.sub(r"[^\w\s-]", "", plain).strip().lower()
    return re.sub(r"[-\s]+", "-", plain)
