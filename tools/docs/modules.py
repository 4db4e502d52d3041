"""What the library exports, read from its source: no extra need be installed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import takewhile
from pathlib import Path

__all__ = ["ROOT", "Export", "Module", "homes", "public_modules"]

ROOT = Path(__file__).parents[2]
_SRC = ROOT / "src"
_PACKAGE = "realtime_stts"
_NOT_LIBRARIES = {f"{_PACKAGE}.cli"}


@dataclass(frozen=True, slots=True)
class Export:
    """A public name: where it is imported from, and where its source is."""

    name: str
    module: str  # the public module that the reference shows it in
    summary: str  # the first sentence of its docstring; may be empty

    @property
    def path(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True)
class Module:
    """A module that users import from."""

    name: str
    summary: str
    exports: tuple[str, ...]

    @property
    def page(self) -> str:
        """Its page, in the site's folder."""
        return f"reference/api/{self.name.removeprefix(f'{_PACKAGE}.')}.md"


@lru_cache(maxsize=1)
def public_modules() -> tuple[Module, ...]:
    """All of them, by name; what a package re-exports whole is no module of its own."""
    found: dict[str, Module] = {}
    for path in sorted((_SRC / _PACKAGE).rglob("*.py")):
        name = _name(path)
        if any(part.startswith("_") for part in name.split(".")) or name in _NOT_LIBRARIES:
            continue
        if any(name.startswith(f"{other}.") for other in _NOT_LIBRARIES):
            continue
        tree = _parsed(path)
        exports = tuple(sorted(_exported(tree), key=str.lower))
        parent = found.get(name.rpartition(".")[0])
        if parent and parent.name != _PACKAGE and _is_a_part(exports, parent):
            continue
        if exports:
            found[name] = Module(name, _first_sentence(ast.get_docstring(tree)), exports)
    return tuple(sorted(found.values(), key=lambda module: module.name))


@lru_cache(maxsize=1)
def homes() -> dict[str, Export]:
    """Every public name and the one page that shows it.

    Of the modules that export it, it is the one that is nearest to its source, and of those
    the one with most to show: the root exports what is explained elsewhere.
    """
    chosen: dict[str, tuple[tuple[int, int], Export]] = {}
    for module in public_modules():
        for name in module.exports:
            defined, summary = _definition(module.name, name)
            near = _shared(module.name, defined)
            rank = (near, len(module.exports) if module.name != _PACKAGE else 0)
            if name not in chosen or rank > chosen[name][0]:
                chosen[name] = rank, Export(name, module.name, summary)
    return {name: export for name, (_, export) in chosen.items()}


def _shared(one: str, other: str) -> int:
    """How many parts two dotted names begin with alike."""
    pairs = zip(one.split("."), other.split("."), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _is_a_part(exports: tuple[str, ...], parent: Module) -> bool:
    return bool(set(exports) & set(parent.exports)) or not exports


def _name(path: Path) -> str:
    parts = path.relative_to(_SRC).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def _source(module: str) -> Path:
    path = _SRC.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _exported(tree: ast.Module) -> list[str]:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name("__all__")], value=value):
                return list(ast.literal_eval(value))
    return []


def _definition(module: str, name: str) -> tuple[str, str]:
    """The module whose source defines a name that ``module`` exports, and its summary."""
    path = _source(module)
    for node in ast.walk(_parsed(path)):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef() if node.name == name:
                return module, _first_sentence(ast.get_docstring(node))
            case ast.ImportFrom() if any((a.asname or a.name) == name for a in node.names):
                original = next(a.name for a in node.names if (a.asname or a.name) == name)
                origin = _origin(module, path, node)
                if origin is not None:
                    return _definition(origin, original)
    return module, _said_below(_parsed(path), name)


def _said_below(tree: ast.Module, name: str) -> str:
    """The first sentence of the string under an assignment."""
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        match node, after:
            case (
                ast.Assign(targets=[ast.Name(assigned)]) | ast.AnnAssign(target=ast.Name(assigned)),
                ast.Expr(ast.Constant(str(said))),
            ) if assigned == name:
                return _first_sentence(said)
    return ""


def _origin(module: str, path: Path, node: ast.ImportFrom) -> str | None:
    if node.level == 0:
        inside = (node.module or "").partition(".")[0] == _PACKAGE
        return node.module if inside else None
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    base = package[: len(package) - (node.level - 1)]
    return ".".join([*base, *(node.module or "").split(".")]).rstrip(".")


def _first_sentence(docstring: str | None) -> str:
    paragraph = " ".join((docstring or "").strip().partition("\n\n")[0].split())
    return next(_sentences(paragraph), "")


def _sentences(paragraph: str) -> Iterator[str]:
    at = 0
    while (end := paragraph.find(". ", at)) >= 0:
        yield paragraph[at : end + 1]
        at = end + 2
    if paragraph[at:]:
        yield paragraph[at:]
