"""The library's docstrings as the reference shows them.

In the source a name in single backticks is a reference, and a field is explained by the comment
behind it. Here the first become links, and the second the field's docstring.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import griffe

from .modules import homes

__all__ = ["Docstrings", "comment_of", "linked"]

_REFERENCE = re.compile(r"(?<![`\[])`(?P<name>\w+(?:\.\w+)*)`(?!`)")
_COMMENT = re.compile(r"\s\s# (?!noqa|type:|pragma)(?P<said>.+)$")
_UNIT = re.compile(r"^(s|ms|Hz|px|bytes|samples|characters|pt)([;,]|$)")


_SHOWN_SPECIALS = {"__call__"}


class Docstrings(griffe.Extension):
    """What is changed once the package has been read."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        self._visit(pkg)

    def _visit(self, thing: griffe.Object) -> None:
        for member in list(thing.members.values()):
            if member.is_alias or not isinstance(member, griffe.Object):
                continue
            if member.name.startswith("__") and member.name not in _SHOWN_SPECIALS:
                member.public = False
            elif member.is_attribute and not thing.is_class:
                _explain(member)
            self._visit(member)
        if isinstance(thing, griffe.Class) and "dataclass" in _decorators(thing):
            _gather_fields(thing)
        elif isinstance(thing, griffe.Class):
            for attribute in _unsaid(thing):
                _explain(attribute)
        if thing.docstring is not None:
            thing.docstring.value = linked(thing.docstring.value, thing)


def linked(text: str, thing: griffe.Object) -> str:
    """A docstring with its references made links; what means nothing public stays code."""

    def change(reference: re.Match[str]) -> str:
        path = _path(reference["name"], thing)
        return reference.group() if path is None else f"[`{reference['name']}`][{path}]"

    lines = text.splitlines()
    return "\n".join(
        line if line.startswith("    ") and _is_code(lines, n) else _REFERENCE.sub(change, line)
        for n, line in enumerate(lines)
    )


def comment_of(line: str) -> str:
    """What the comment behind a field says, as a sentence; empty if there is none."""
    comment = _COMMENT.search(line)
    if comment is None:
        return ""
    said = comment["said"].strip()
    unit = _UNIT.match(said)
    if unit:
        rest = said[unit.end() :].strip()
        said = f"In {unit[1]}{': ' + rest if rest else ''}"
    said = said[0].upper() + said[1:]
    return said if said.endswith((".", "?")) else f"{said}."


def _explain(attribute: griffe.Object) -> None:
    said = _comment(attribute)
    if said and attribute.docstring is None and attribute.is_public:
        attribute.docstring = griffe.Docstring(
            said, lineno=attribute.lineno, endlineno=attribute.endlineno, parent=attribute
        )


def _gather_fields(of: griffe.Class) -> None:
    """A dataclass's fields are its parameters: they are explained there, and only there."""
    docstring = of.docstring
    if docstring is None:
        return
    lines = [
        f"    {field.name}: {said}"
        for field in _unsaid(of)
        if (said := _comment(field)) and not _explained(field.name, docstring.value)
    ]
    if lines:
        section = _SECTION.search(docstring.value)
        if section is None:
            docstring.value = "\n".join([docstring.value.rstrip(), "", "Args:", *lines])
        else:
            at = section.end()
            more = "\n".join(lines)
            docstring.value = f"{docstring.value[:at]}{more}\n{docstring.value[at:]}"
    for field in _unsaid(of):
        field.public = False


_SECTION = re.compile(r"^(Args|Attributes):\n", re.M)


def _unsaid(of: griffe.Class) -> list[griffe.Object]:
    """Its attributes that have no docstring."""
    return [
        each
        for each in of.members.values()
        if isinstance(each, griffe.Attribute) and each.docstring is None and each.is_public
    ]


def _explained(name: str, docstring: str) -> bool:
    return re.search(rf"^    {name}: ", docstring, re.M) is not None


def _comment(attribute: griffe.Object) -> str:
    if attribute.lineno is None:
        return ""
    last = attribute.endlineno or attribute.lineno
    path = attribute.filepath
    assert isinstance(path, Path)  # a list is of a namespace's folders
    return comment_of(attribute.lines_collection[path][last - 1])


def _decorators(of: griffe.Class) -> str:
    return " ".join(str(each.value) for each in of.decorators)


def _is_code(lines: list[str], n: int) -> bool:
    """Whether an indented line is a block of code, and not what a section says."""
    for line in reversed(lines[:n]):
        if line.strip() and not line.startswith("    "):
            return not re.match(r"(Args|Attributes|Raises|Returns|Yields|Note)s?:$", line.strip())
    return True


def _path(name: str, thing: griffe.Object) -> str | None:
    first, dot, rest = name.partition(".")
    home: griffe.Object | None = thing if thing.is_class else thing.parent
    if home is not None and home.is_class and first in home.members:
        public = homes().get(home.name)
        if public is not None:
            return f"{public.path}.{name}" if home.members[first].is_public else public.path
    if first in homes():
        return f"{homes()[first].path}{dot}{rest}"
    return None
